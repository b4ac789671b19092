package upgrade

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Filter stands between a client and a backend while their states differ, and
// gets out of the way as soon as the protocol allows. Its methods are never
// called concurrently. FromClient and FromBackend are given all that has arrived
// and was not consumed; they say how much of it they consume, and pass on what
// they see fit with the Exchange's methods. Zero means that more must arrive.
type Filter interface {
	// Start is called once, before anything else.
	Start(x *Exchange)
	FromClient(x *Exchange, b []byte) (consumed int)
	FromBackend(x *Exchange, b []byte) (consumed int)
}

// An Exchange is the connection that a backend's side reads from and writes to:
// Read yields what the client says to the backend, Write takes what the backend
// says to the client, and a Filter sees both on the way until it is done. From
// then on the Exchange is the Conn itself and nothing more.
type Exchange struct {
	*Conn

	// Upgraded, if set, is called when a relay protocol has been upgraded, before
	// the backend reads the first byte that came over TLS.
	Upgraded func()

	// With the filter out of the way, reads and writes go straight to the Conn.
	readDirect, writeDirect atomic.Bool
	spoke                   atomic.Bool // the backend has written
	matching                atomic.Bool // a read deadline is set: somebody only looks

	mu       sync.Mutex
	filter   Filter
	in       []byte        // from the client, not consumed by the filter
	back     []byte        // from the backend, likewise
	toRead   []byte        // passed on to the backend
	toWrite  []byte        // passed on to the client
	finished bool          // the filter is done
	ended    bool          // the client has had our farewell
	held     chan struct{} // closed on release; nil: not held
	wake     chan struct{} // there is something for the backend
	gone     bool          // the backend has ended
	greeted  bool          // what was held at the start has been released
	upgrade  func() error  // asked for by the filter, not done yet
	limit    time.Time     // of a relay's plaintext phase; zero once it is over
}

// Exchange makes the connection to hand to whatever reaches the backend: through
// the protocol's Relay filter before TLS, or through its Rejoin filter after it.
func (c *Conn) Exchange() *Exchange {
	x := &Exchange{Conn: c, wake: make(chan struct{}, 1)}
	if c.proto != nil && c.session == nil {
		c.session = newSession(c)
	}
	switch {
	case c.proto == nil:
	case c.proto.Relay != nil:
		x.filter = c.proto.Relay(c.session)
		x.limit = time.Now().Add(c.config.negotiationTimeout())
		_ = c.raw.SetReadDeadline(x.limit)
	case c.proto.Rejoin != nil:
		x.filter = c.proto.Rejoin(c.session)
	}
	x.begin()
	return x
}

// begin starts the filter, if there is one.
func (x *Exchange) begin() {
	if x.filter == nil {
		x.readDirect.Store(true)
		x.writeDirect.Store(true)
		return
	}
	x.filter.Start(x)
}

// ToBackend passes bytes on to the backend, also while the client's are held.
func (x *Exchange) ToBackend(p []byte) {
	x.toRead = append(x.toRead, p...)
	select {
	case x.wake <- struct{}{}:
	default: // awake already
	}
}

// ToClient passes bytes on to the client; what one call of the filter passes on
// leaves in one write.
func (x *Exchange) ToClient(p []byte) { x.toWrite = append(x.toWrite, p...) }

// Hold keeps the client's bytes back until Release: a backend that has not
// greeted yet takes early talkers for spammers. What Start holds is held for
// Config.NegotiationTimeout at the most, then the client is told that the
// backend is not available. Behind the backend's end there is nothing to wait for.
func (x *Exchange) Hold() {
	if x.held == nil && !x.gone {
		x.held = make(chan struct{})
	}
}

// Release ends Hold.
func (x *Exchange) Release() {
	if x.held != nil {
		close(x.held)
		x.held = nil
	}
	x.greeted = true
}

// Done takes the filter out of the data path. What it has not consumed is passed
// on as it is.
func (x *Exchange) Done() {
	x.finished = true
	x.Release()
}

// End sends last words to the client and ends the exchange. The backend sees the
// client's end.
func (x *Exchange) End(words []byte) {
	x.ToClient(words)
	x.ended = true
	x.Release()
}

// EndFor is End in the words of the protocol.
func (x *Exchange) EndFor(why error) { x.End(x.wordFarewell(why)) }

// Upgrade makes TLS of a relayed connection: what the client sent behind the bytes
// that FromClient consumes now must be the ClientHello if goAhead is nil, or must
// not be there at all.
func (x *Exchange) Upgrade(goAhead []byte) {
	x.upgrade = func() error { return x.startTLS(context.Background(), x.in, goAhead) }
}

// Warn passes on what an administrator should change at the backend.
func (x *Exchange) Warn(message string) { x.config.warn(message) }

// Finish is called when whoever reached for the backend has returned, with the
// error if it could not be reached. A client that has heard nothing from the
// backend is told so, and one that has had a farewell is given time to read it.
func (x *Exchange) Finish(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil && !x.spoke.Load() && !x.ended && x.Err() == nil {
		_ = x.raw.SetWriteDeadline(time.Now().Add(farewellTimeout))
		x.EndFor(ErrBackend)
		_ = x.flush()
	}
	if x.ended {
		_ = x.raw.SetReadDeadline(time.Now().Add(farewellTimeout))
		x.linger()
	}
}

// Read yields what the client says to the backend.
func (x *Exchange) Read(p []byte) (int, error) {
	for !x.readDirect.Load() {
		if n, err, ok := x.readFiltered(p); ok {
			return n, err
		}
	}
	return x.Conn.Read(p)
}

// readFiltered does one step of reading through the filter; ok is false when it
// has neither bytes nor an error to show for it.
func (x *Exchange) readFiltered(p []byte) (n int, err error, ok bool) {
	if !x.awaitRelease() {
		return 0, io.EOF, true
	}
	if n, err, ok := x.step(p); ok || x.readDirect.Load() || x.mustHold() {
		return n, err, ok
	}
	chunk := make([]byte, 16<<10)
	n, err = x.Conn.Read(chunk)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.in = append(x.in, chunk[:n]...)
	if n > 0 {
		return 0, nil, false
	}
	return x.clientEnded(p, err)
}

// step lets the filter see what the client has sent, and hands out what it has
// passed on.
func (x *Exchange) step(p []byte) (n int, err error, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.toRead) == 0 && !x.ended {
		x.feedClient()
		if err := x.flush(); err != nil {
			return 0, err, true
		}
	}
	switch {
	case len(x.toRead) > 0:
		n = copy(p, x.toRead)
		x.toRead = x.toRead[n:]
		return n, nil, true
	case x.ended:
		return 0, io.EOF, true
	case x.upgrade != nil:
		err := x.upgradeNow()
		return 0, err, err != nil
	case x.finished:
		x.in, x.toRead = nil, nil
		x.readDirect.Store(true)
	}
	return 0, nil, false
}

// feedClient shows the filter what the client has sent; the caller holds mu.
func (x *Exchange) feedClient() {
	for len(x.in) > 0 && !x.finished && !x.ended && x.upgrade == nil && !x.holds() {
		n := x.filter.FromClient(x, x.in)
		if n == 0 {
			break
		}
		x.in = x.in[n:]
	}
	if x.finished && x.upgrade == nil {
		x.toRead = append(x.toRead, x.in...)
		x.ToClient(x.back) // nobody will look at it any more
		x.in, x.back = nil, nil
	}
}

// upgradeNow does what Upgrade asked for, once the backend has all that came
// before it. Holding mu keeps the backend from writing into the handshake.
func (x *Exchange) upgradeNow() error {
	err := x.upgrade()
	x.upgrade, x.in = nil, nil
	if err != nil {
		return err
	}
	x.limit = time.Time{}
	if x.Upgraded != nil {
		x.Upgraded()
	}
	return nil
}

// clientEnded passes on what is left of the client's last words, and ends the
// session of a client that has used up its time in clear.
func (x *Exchange) clientEnded(p []byte, err error) (int, error, bool) {
	if !x.limit.IsZero() && errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(x.limit) {
		x.fail(ErrTimeout)
		x.End(nil)
		_ = x.flush()
	}
	if x.ended {
		return 0, io.EOF, true
	}
	if len(x.in) > 0 {
		n := copy(p, x.in)
		x.in = x.in[n:]
		return n, nil, true
	}
	return 0, err, true
}

// holds tells whether the client's bytes must wait. Somebody who set a read
// deadline only looks at them, before there is a backend at all.
func (x *Exchange) holds() bool { return x.held != nil && !x.matching.Load() }

func (x *Exchange) mustHold() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.holds()
}

// awaitRelease waits until the client's bytes may pass; false means that the
// backend has not greeted in time, and that the client has been told.
func (x *Exchange) awaitRelease() bool {
	x.mu.Lock()
	held, wait, greeted := x.held, x.holds() && len(x.toRead) == 0, x.greeted
	x.mu.Unlock()
	if !wait {
		return true
	}
	var timeout <-chan time.Time // none for a backend that has greeted; its end releases
	if !greeted {
		timer := time.NewTimer(x.config.negotiationTimeout())
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-held:
		return true
	case <-x.wake:
		return true
	case <-timeout:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.EndFor(ErrBackend)
	_ = x.flush()
	return false
}

// Write takes what the backend says to the client.
func (x *Exchange) Write(p []byte) (int, error) {
	x.spoke.Store(true)
	if x.writeDirect.Load() {
		return x.Conn.Write(p)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return len(p), nil // nobody listens any more, and the backend will see the end
	}
	x.back = append(x.back, p...)
	x.feedBackend()
	if err := x.flush(); err != nil {
		return 0, err
	}
	if x.finished && !x.ended {
		x.writeDirect.Store(true)
	}
	return len(p), nil
}

// feedBackend shows the filter what the backend has sent; the caller holds mu.
func (x *Exchange) feedBackend() {
	for len(x.back) > 0 && !x.finished && !x.ended {
		n := x.filter.FromBackend(x, x.back)
		if n == 0 {
			break
		}
		x.back = x.back[n:]
	}
	if x.finished {
		x.ToClient(x.back)
		x.back = nil
	}
}

// flush sends what was passed on to the client, and after the last words ends
// our half; the caller holds mu.
func (x *Exchange) flush() error {
	var err error
	if len(x.toWrite) > 0 {
		_, err = x.Conn.Write(x.toWrite)
		x.toWrite = nil
	}
	if x.ended {
		_ = x.Conn.CloseWrite()
		_ = x.raw.SetReadDeadline(longAgo) // whoever reads from the client is done, too
	}
	return err
}

// CloseWrite is called when the backend has nothing more to say. A filter that
// still waits for something is told, so that the client does not wait in vain.
func (x *Exchange) CloseWrite() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return nil
	}
	if !x.writeDirect.Load() && !x.finished {
		x.backendEnded()
	}
	err := x.flush()
	if x.ended {
		return err
	}
	return errors.Join(err, x.Conn.CloseWrite())
}

// backendEnded lets the filter know, or passes on what was left of the backend's
// last words; the caller holds mu.
func (x *Exchange) backendEnded() {
	x.gone = true
	if f, ok := x.filter.(interface{ BackendEnded(x *Exchange) }); ok {
		f.BackendEnded(x)
	}
	if !x.ended {
		x.ToClient(x.back)
	}
	x.back = nil
	x.Release()
}

// SetDeadline sets both deadlines.
func (x *Exchange) SetDeadline(t time.Time) error {
	return errors.Join(x.SetReadDeadline(t), x.SetWriteDeadline(t))
}

// SetReadDeadline sets the read deadline, which never outlasts the time that a
// relayed client has for asking for TLS. While one is set, nothing is held back.
func (x *Exchange) SetReadDeadline(t time.Time) error {
	x.matching.Store(!t.IsZero())
	x.mu.Lock()
	defer x.mu.Unlock()
	if !t.IsZero() {
		x.ToBackend(nil) // wakes a Read that waits for Release
	}
	if !x.limit.IsZero() && (t.IsZero() || t.After(x.limit)) {
		t = x.limit
	}
	return x.Conn.SetReadDeadline(t)
}

var _ net.Conn = (*Exchange)(nil)
