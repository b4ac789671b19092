package upgrade

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// stallLimit is how long a session at a bound may go without progress of either side.
const stallLimit = 30 * time.Second

// Read yields what the client says to the backend. While its bytes are held, Read reads
// ahead into a bounded buffer, so that it notices the client's end. A deadline of the
// caller's ends it with os.ErrDeadlineExceeded, and nothing else.
func (j *Joined) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := j.read(p)
	j.noteRead(n, err)
	return n, err
}

func (j *Joined) read(p []byte) (int, error) {
	for !j.readDirect.Load() {
		if n, err, done := j.step(p); done {
			return n, err
		}
	}
	n, err := j.conn.Read(p)
	if err != nil {
		return n, j.directError(err)
	}
	j.directProgress()
	return n, nil
}

// step does one step of reading through the filter; done is false when it has neither
// bytes nor an error to show for it.
func (j *Joined) step(p []byte) (n int, err error, done bool) {
	j.mu.Lock()
	if j.over {
		defer j.mu.Unlock()
		return 0, net.ErrClosed, true
	}
	n, err, done = j.advance(p)
	room := j.roomBefore(j.x.Room(len(p)))
	if j.clientErr != nil {
		room = 0
	}
	upgrading := !done && j.x.WantsUpgrade()
	direct := j.readDirect.Load()
	reading := !done && !upgrading && room > 0 && !direct
	j.beginReading(reading)
	j.beWakeable(!done && !direct && !reading)
	j.mu.Unlock()
	if ferr := j.flush(); ferr != nil && n == 0 {
		return 0, ferr, true
	}
	switch {
	case done, direct:
		return n, err, done
	case upgrading:
		err = j.upgradeNow()
		return 0, err, err != nil
	case reading:
		return j.readClient(p[:room])
	}
	return j.awaitBackend()
}

// advance has the filter go on with what there is; the caller holds mu.
func (j *Joined) advance(p []byte) (n int, err error, done bool) {
	if n = j.x.DeliverToBackend(p); n == 0 && !j.x.Closed() {
		n = j.x.ClientSays(nil, p)
	}
	switch {
	case n > 0:
		return n, nil, true
	case j.x.Closed():
		return 0, io.EOF, true
	case j.x.WantsUpgrade(): // what a client has said behind its request is a violation, though it has ended since
		return 0, nil, false
	case j.clientErr != nil && (!j.x.Held() || !j.x.HasFromClient()):
		return j.endClient(p)
	case j.x.Detached() && !j.x.WantsUpgrade():
		j.endAwait()
		j.limits.greeting = time.Time{}
		j.applyLimits()
		j.readDirect.Store(true)
	}
	return 0, nil, false
}

// beginReading notes whether a Read is to wait for the client, where the backend can wake
// it. A wake-up that found nobody waiting leaves its deadline behind, which ends here. The
// caller holds mu.
func (j *Joined) beginReading(reading bool) {
	j.reading = reading
	if j.waking {
		j.waking = false
		j.applyLimits()
	}
	if reading {
		j.stalled = time.Time{}
	}
}

// beWakeable lets a Read be woken from now on, if it is to wait for the backend. The caller holds
// mu: no wake-up is missed when that is let go.
func (j *Joined) beWakeable(waits bool) {
	if waits && j.wake == nil {
		j.wake = make(chan struct{}, 1)
	}
}

// endClient tells the filter of the client's end, and hands out what it still passes on;
// the caller holds mu.
func (j *Joined) endClient(p []byte) (n int, err error, done bool) {
	j.x.ClientEnded()
	if n = j.x.DeliverToBackend(p); n > 0 {
		return n, nil, true
	}
	return 0, j.clientErr, true
}

// readClient reads from the client, into the caller's buffer, and has the filter look at
// it there.
func (j *Joined) readClient(p []byte) (n int, err error, done bool) {
	n, err = j.conn.Read(p)
	j.mu.Lock()
	j.reading = false
	woken := j.waking
	if woken {
		j.waking = false
		j.applyLimits()
	}
	if n == 0 {
		defer j.mu.Unlock()
		return j.unread(err, woken)
	}
	j.progressed()
	j.saidBefore(n)
	n = j.x.ClientSays(p[:n], p)
	j.mu.Unlock()
	if ferr := j.flush(); ferr != nil && n == 0 {
		return 0, ferr, true
	}
	return n, nil, n > 0
}

// unread finds out why nothing was read; the caller holds mu.
func (j *Joined) unread(err error, woken bool) (n int, why error, done bool) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && woken:
		return 0, nil, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		return j.timedOut(err)
	case errors.Is(err, io.EOF):
		j.clientErr = err
		return 0, nil, false
	}
	return 0, err, true // there is nobody to hold anything for
}

// stalledUntil is when a session at a bound ends, unless the backend says something. It is
// the same from one Read to the next, where a caller's deadlines are shorter. The caller
// holds mu.
func (j *Joined) stalledUntil() time.Time {
	if j.stalled.IsZero() {
		j.stalled = time.Now()
	}
	since := j.stalled
	if j.backendSaid.After(since) {
		since = j.backendSaid
	}
	return since.Add(stallLimit)
}

// awaitBackend waits until the backend has said something, where there is no room for more
// of the client's, or the client has ended.
func (j *Joined) awaitBackend() (n int, err error, done bool) {
	j.mu.Lock()
	wake, until := j.wake, j.stalledUntil()
	if limit := j.limits.earliest(); !limit.IsZero() && limit.Before(until) {
		until = limit
	}
	j.mu.Unlock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-wake:
		return 0, nil, false
	case <-timer.C:
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch now, limit := time.Now(), j.limits.earliest(); {
	case !now.Before(j.stalledUntil()):
		j.endAs(ErrTimeout)
	case !limit.IsZero() && !now.Before(limit):
		return j.timedOut(os.ErrDeadlineExceeded)
	}
	return 0, nil, false
}

// upgradeNow does what the filter has asked for, once the backend has all that came
// before it. Holding writing keeps the backend from writing into the handshake.
func (j *Joined) upgradeNow() error {
	j.writing.Lock()
	defer j.writing.Unlock()
	admitted := j.conn.admitUpgrade()
	j.mu.Lock()
	behind, goAhead := j.x.TakeUpgrade()
	if !admitted {
		defer j.mu.Unlock()
		j.endAs(ErrTooManyUpgrades)
		return nil
	}
	j.upgrading = true
	j.mu.Unlock()
	j.conn.negotiatedIn(time.Since(j.begun))
	err := j.beginTLS(behind, goAhead)
	j.mu.Lock()
	j.upgrading = false
	j.endAwait()
	j.limits.applied = true
	j.applyLimits()
	j.mu.Unlock()
	if err != nil {
		return err
	}
	if j.Upgraded != nil {
		j.Upgraded()
	}
	return nil
}
