package l4starttls

import "sync"

// onceOnly remembers what has been logged, for as long as a configuration lives. What it is
// asked for must be of the code's or of the configuration's making, and so of a bound number.
type onceOnly struct{ seen sync.Map }

// first reports whether it is asked for the first time.
func (o *onceOnly) first(what string) bool {
	_, again := o.seen.LoadOrStore(what, true)
	return !again
}
