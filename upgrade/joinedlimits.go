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
	idle      time.Time // and until then have said something
	bytes     int       // how much it may say before, or 0 for no bound; and how much it has said
	said      int
	greeting  time.Time // until then the backend must have greeted
	draining  bool      // the backend has ended
	drained   time.Time // until then the client must have said something
	last      time.Time // until then it may read its last words

	applied bool // a deadline is set
}

// earliest is the first of them, or zero.
func (l *readLimits) earliest() (first time.Time) {
	for _, t := range []time.Time{l.caller, l.plaintext, l.idle, l.greeting, l.drained, l.last} {
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

// awaitUpgrade bounds what a client does before it asks for the upgrade, where the backend
// is there already. What a client says that may stay in plaintext is the application's, and
// has no bound unless there is one in the configuration.
func (j *Joined) awaitUpgrade(optional bool) {
	config := j.conn.config
	j.mu.Lock()
	defer j.mu.Unlock()
	j.limits.plaintext = time.Now().Add(config.negotiationTimeout() - j.conn.plain.outcome.NegotiationTime)
	j.limits.bytes = config.Limits.Bytes
	if !optional {
		j.limits.bytes = config.Limits.ForProtocol(j.conn.proto).Bytes
	}
	j.stillIdle()
	j.applyLimits()
}

// stillIdle begins the time anew in which a client must say something; the caller holds mu.
func (j *Joined) stillIdle() {
	if idle := j.conn.config.Limits.Idle; idle > 0 {
		j.limits.idle = time.Now().Add(idle)
		j.applyLimits()
	}
}

// endAwait ends what awaitUpgrade has begun; the caller holds mu.
func (j *Joined) endAwait() {
	j.limits.plaintext, j.limits.idle, j.limits.bytes = time.Time{}, time.Time{}, 0
}

// roomBefore keeps a Read from taking more than a client may say before it asks for the
// upgrade: what is behind the request does not count. An octet beyond the bound is read to
// see that there is one. The caller holds mu.
func (j *Joined) roomBefore(room int) int {
	if j.limits.bytes == 0 {
		return room
	}
	return min(room, max(1, j.limits.bytes-j.limits.said))
}

// saidBefore notes what a client has said that has not asked for the upgrade, and ends the
// session if that is too much; the caller holds mu.
func (j *Joined) saidBefore(octets int) {
	if j.limits.plaintext.IsZero() {
		return
	}
	j.stillIdle()
	j.limits.said += octets
	if j.limits.bytes > 0 && j.limits.said > j.limits.bytes {
		j.endAs(ErrTooMany)
	}
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
	case passed(j.limits.greeting):
		j.limits.greeting = time.Time{}
		j.x.CloseFor(ErrBackend)
	case passed(j.limits.plaintext), passed(j.limits.idle):
		j.endAs(ErrTimeout)
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
