package l4starttls

import "sync"

// maxRemembered bounds what a onceOnly remembers.
const maxRemembered = 1000

// onceOnly remembers what has been logged, for as long as a configuration lives. What does not
// fit is not logged at all: a backend may have a part in what it is asked for.
type onceOnly struct {
	mu   sync.Mutex
	seen map[string]bool
}

// first reports whether it is asked for the first time.
func (o *onceOnly) first(what string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.seen[what] || len(o.seen) >= maxRemembered {
		return false
	}
	if o.seen == nil {
		o.seen = make(map[string]bool)
	}
	o.seen[what] = true
	return true
}
