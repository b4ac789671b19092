package upgrade

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Side is one of those that can end a session.
type Side string

// The sides. ByNobody has ended a session that goes on.
const (
	ByNobody  Side = ""
	ByClient  Side = "client"
	ByBackend Side = "backend"
	ByProxy   Side = "proxy" // that is us
)

// An Ending is how a session ended: by whom first, and why if that was not a proper end.
type Ending struct {
	By  Side      // who ended it
	Err error     // nil for a proper end
	At  time.Time // when; zero for a session that goes on
}

// An Account is what a Joined keeps of its session for logs and metrics. It does not keep
// the connection: it may outlive it.
type Account struct {
	fromClient, fromBackend atomic.Uint64

	mu                 sync.Mutex
	ending             Ending
	readOver, wroteAll bool // what the client says, and what it is told, is over
	whenOver           func()
}

// FromClient is how many octets of the client's the backend has been given.
func (a *Account) FromClient() uint64 { return a.fromClient.Load() }

// FromBackend is how many octets the backend has said.
func (a *Account) FromBackend() uint64 { return a.fromBackend.Load() }

// Ending is how the session ended, if it did.
func (a *Account) Ending() Ending {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ending
}

// WhenOver has f called once, when both directions of the session are over, or its
// connection was closed: at once if they are. It is for those who cannot see when whoever
// was handed the connection has returned.
func (a *Account) WhenOver(f func()) {
	a.mu.Lock()
	over := a.readOver && a.wroteAll
	if !over {
		a.whenOver = f
	}
	a.mu.Unlock()
	if over {
		f()
	}
}

// end notes who ended the session, if nobody has before.
func (a *Account) end(by Side, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending.By == ByNobody {
		a.ending = Ending{By: by, Err: err, At: time.Now()}
	}
}

// finish notes that a direction is over, or both.
func (a *Account) finish(read, write bool) {
	a.mu.Lock()
	a.readOver, a.wroteAll = a.readOver || read, a.wroteAll || write
	var f func()
	if a.readOver && a.wroteAll {
		f, a.whenOver = a.whenOver, nil
	}
	a.mu.Unlock()
	if f != nil {
		f()
	}
}

// Account is the session's.
func (j *Joined) Account() *Account { return j.account }

// noteRead counts what was read, and sees the end of it.
func (j *Joined) noteRead(n int, err error) {
	if n > 0 {
		j.account.fromClient.Add(uint64(n))
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	switch by, why := j.endedHere(); {
	case by != ByNobody:
		j.account.end(by, why)
	case errors.Is(err, net.ErrClosed):
		j.account.end(ByProxy, nil)
	case errors.Is(err, io.EOF) && !errors.Is(err, ErrTruncated):
		j.account.end(ByClient, nil)
	default:
		j.account.end(ByClient, err)
	}
	j.data.controlOver()
	j.account.finish(true, false)
}

// noteWrite counts what was written, and sees a client that is gone.
func (j *Joined) noteWrite(n int, err error) {
	if n > 0 {
		j.account.fromBackend.Add(uint64(n))
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		j.account.end(ByClient, err)
	}
}

// endedHere says who ended the session if it was closed in the protocol's words.
func (j *Joined) endedHere() (by Side, why error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.x.Closed() {
		return ByNobody, nil
	}
	why = j.x.ClosedFor()
	if errors.Is(why, ErrBackend) {
		return ByBackend, why
	}
	return ByProxy, why
}

// Shutdown ends the session because the process is to end: with close_notify, also amid
// what the backend says. What the client still says until then is passed on, and then
// there is an end for whoever reads. It does not wait for that, but it does for the client
// to take what has been written, in the same time.
func (j *Joined) Shutdown(until time.Time) error {
	j.account.end(ByProxy, ErrShutdown)
	j.data.shutdown(until)
	_ = j.conn.setWriteDeadline(until)
	j.mu.Lock()
	j.limits.last = until
	j.applyLimits()
	j.poke()
	j.mu.Unlock()
	return j.conn.CloseWrite()
}
