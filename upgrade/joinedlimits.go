package upgrade

import (
	"errors"
	"io"
	"os"
	"time"
)

// drainLimit is how long a client may stay without a word after its backend has ended.
const drainLimit = 30 * time.Second

// readLimits are the times at which a Read ends, whichever is first. All of them reach it
// as the read deadline of the client's connection.
type readLimits struct {
	caller    time.Time // that of SetReadDeadline
	plaintext time.Time // until then a client must have asked for the upgrade
	greeting  time.Time // until then the backend must have greeted
	draining  bool      // the backend has ended
	drained   time.Time // until then the client must have said something
	last      time.Time // until then it may read its last words

	applied bool // a deadline is set
}

// earliest is the first of them, or zero.
func (l *readLimits) earliest() (first time.Time) {
	for _, t := range []time.Time{l.caller, l.plaintext, l.greeting, l.drained, l.last} {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// applyLimits makes the earliest limit the read deadline; the caller holds mu.
func (j *Joined) applyLimits() {
	if j.waking || j.upgrading {
		return // whoever is woken will, and so will upgradeNow
	}
	limit := j.limits.earliest()
	if limit.IsZero() && !j.limits.applied {
		return
	}
	j.limits.applied = !limit.IsZero()
	_ = j.conn.raw.SetReadDeadline(limit)
}

// progressed notes that the client has said something; the caller holds mu.
func (j *Joined) progressed() {
	j.conn.patience.heard.Add(1)
	if j.limits.draining {
		j.limits.drained = time.Now().Add(drainLimit)
		j.applyLimits()
	}
}

// directProgress is progressed for a Read that no filter sees.
func (j *Joined) directProgress() {
	if j.draining.Load() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.progressed()
	}
}

// drain gives the client time to end, behind the backend's end; the caller holds mu.
func (j *Joined) drain() {
	j.draining.Store(true)
	j.limits.draining = true
	j.limits.drained = time.Now().Add(drainLimit)
	j.applyLimits()
}

// timedOut finds out which limit was reached; the caller holds mu.
func (j *Joined) timedOut(err error) (n int, why error, done bool) {
	now := time.Now()
	passed := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	switch {
	case passed(j.limits.plaintext):
		j.endAs(ErrTimeout)
	case passed(j.limits.greeting):
		j.limits.greeting = time.Time{}
		j.x.CloseFor(ErrBackend)
	case passed(j.limits.drained), passed(j.limits.last):
		return 0, io.EOF, true
	case passed(j.limits.caller):
		return 0, err, true
	default:
		j.applyLimits() // one that has been moved since
	}
	return 0, nil, false
}

// directError is timedOut for a Read that no filter sees.
func (j *Joined) directError(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.limits.drained.IsZero() && j.limits.last.IsZero() {
		return err
	}
	if _, why, done := j.timedOut(err); done {
		return why
	}
	return err
}

// endAs ends the session in the protocol's words; the caller holds mu.
func (j *Joined) endAs(why error) {
	j.endedAs = why
	j.x.CloseFor(why)
}

// notify lets a Read go on that waits, if the backend has brought about something for it;
// the caller holds mu.
func (j *Joined) notify() {
	if !j.limits.greeting.IsZero() && j.x.Greeted() {
		j.limits.greeting = time.Time{}
		j.applyLimits()
	}
	switch {
	case !j.x.HasForBackend():
	case j.reading && !j.waking:
		j.waking, j.limits.applied = true, true
		_ = j.conn.raw.SetReadDeadline(longAgo)
	default:
		j.poke()
	}
}

// poke has a Read look again that waits for the backend.
func (j *Joined) poke() {
	select {
	case j.wake <- struct{}{}:
	default: // it will
	}
}

// SetDeadline sets both deadlines.
func (j *Joined) SetDeadline(t time.Time) error {
	return errors.Join(j.SetReadDeadline(t), j.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read.
func (j *Joined) SetReadDeadline(t time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.limits.caller = t
	j.applyLimits()
	j.poke()
	return nil
}

// SetWriteDeadline sets the deadline of Write.
func (j *Joined) SetWriteDeadline(t time.Time) error { return j.conn.setWriteDeadline(t) }
