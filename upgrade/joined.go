package upgrade

import (
	"cmp"
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A Joined is the client's connection as whatever reaches the backend is to see it: Read
// yields what the client says to the backend, Write takes what the backend says to the
// client. The protocol's filter sees both on the way, until it leaves. From then on the
// data path is the Conn's.
type Joined struct {
	// Locks: writing is taken before mu, and either is taken before those of the Conn. mu is
	// not held while something is read from the client or written to it.

	// Upgraded, if set, is called when a connection that was joined before the upgrade has
	// been upgraded, before the backend reads the first byte that came over TLS.
	Upgraded func()

	conn    *Conn
	account *Account
	data    *dataService // nil if the protocol has no further connections

	pretends bool            // as PretendTLS says
	values   context.Context // of the handshake, if the client has yet to ask for it

	readDirect, writeDirect atomic.Bool // the filter is out of the way
	spoken                  atomic.Bool // the backend has
	draining                atomic.Bool // the backend has ended

	writing sync.Mutex // one writer to the client at a time

	mu          sync.Mutex // guards what follows
	x           dialogue.Exchange
	limits      readLimits
	clientErr   error         // what the client ended with while its bytes were held
	endedAs     error         // why we ended the session, if we did
	goodbye     time.Time     // when the last words were written
	reading     bool          // a Read waits for the client,
	waking      bool          // and is being woken
	upgrading   bool          // the handshake has deadlines of its own
	over        bool          // somebody has closed the connection
	wake        chan struct{} // wakes a Read that waits for the backend; nil until one does
	backendSaid time.Time     // when the backend has said something last
	stalled     time.Time     // since when there is no room for the client's bytes, or zero
	begun       time.Time     // when the client was joined
}

// Join plays the server on raw, as Accept does, and returns the connection to hand to
// whatever reaches the backend. If the protocol needs the backend early, it returns at
// once, and the client asks for the upgrade later. Where such a client may begin with TLS, as
// Config.ImplicitTLS says, Join waits for the first octet.
//
// Whoever made raw closes it, after Joined.Returned.
func Join(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Joined, error) {
	c := newConn(raw, proto, config, false)
	c.joined = true
	if proto.EarlyDial {
		if proto.Join == nil || c.config.Passthrough {
			c.spoil(ErrUnsupported) // nobody would see to the policy
			return newJoined(c, nil), c.Err()
		}
		if !c.config.ImplicitTLS || !proto.TakesImplicitTLS() {
			c.negotiated.Store(true)
		}
	}
	if err := c.Negotiate(ctx); err != nil {
		return newJoined(c, nil), err
	}
	j := join(c, c.situation())
	if proto.EarlyDial {
		j.values = context.WithoutCancel(ctx)
	}
	return j, nil
}

// JoinAs joins a client that is in plaintext, and in a situation of the caller's, with
// nothing in the way of the bytes. It is for tests of protocols.
func JoinAs(raw net.Conn, proto *Protocol, config *Config, situation dialogue.Situation) *Joined {
	c := newConn(raw, proto, config, false)
	c.negotiated.Store(true)
	return join(c, situation)
}

// situation is that of a client which has been negotiated with.
func (c *Conn) situation() dialogue.Situation {
	if c.leftToFilter() {
		return dialogue.Situation{Cleartext: c.config.Optional}
	}
	s := dialogue.Situation{
		Client:      dialogue.Greeted,
		Cleartext:   c.plain.outcome.Cleartext,
		ImplicitTLS: c.plain.outcome.ImplicitTLS,
		Kept:        c.plain.kept,
	}
	switch {
	case s.ImplicitTLS:
		s.Client = dialogue.Unheard
	case s.Cleartext && c.plain.introduction != nil:
		s.Client, s.Kept = dialogue.Introduced, c.plain.introduction
	}
	return s
}

// join makes the filter for a situation.
func join(c *Conn, s dialogue.Situation) *Joined {
	s.Options = c.options()
	s.PlaintextAuth = s.PlaintextAuth || s.Cleartext && c.config.PlaintextAuth
	var filter dialogue.Filter
	switch {
	case c.plain.outcome.CancelRequest:
		filter = dialogue.NewCancelRequest(c.plain.request)
	case c.proto.Join != nil && (c.tls.Load() != nil || !c.config.Passthrough || s.Cleartext):
		filter = c.proto.Join(s)
	}
	j := newJoined(c, filter)
	if c.proto.EarlyDial && !s.Upgraded && !s.ImplicitTLS && filter != nil {
		j.awaitUpgrade(s.Cleartext)
	}
	return j
}

func newJoined(c *Conn, filter dialogue.Filter) *Joined {
	j := &Joined{conn: c, account: new(Account), begun: time.Now(), values: context.Background()}
	j.x.Begin(filter, (*host)(j))
	if j.data = newDataService(c, j.account); j.data != nil && filter != nil {
		j.x.LendData(j.data)
	}
	switch {
	case j.x.Detached():
		j.readDirect.Store(true)
		j.writeDirect.Store(true)
	case j.x.Awaited():
		c.patience.begin()
		j.limits.greeting = time.Now().Add(c.config.negotiationTimeout())
	default:
		c.patience.begin()
	}
	j.applyLimits()
	return j
}

// Conn is the client's connection. It is for looking at, such as at Conn.Outcome and at
// Conn.TLSConnectionState: nobody else may read from it or write to it.
func (j *Joined) Conn() *Conn { return j.conn }

// TriedLogin is Outcome.TriedLogin, also of a client that stays in plaintext and may not
// log in so.
func (j *Joined) TriedLogin() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.x.TriedLogin() || j.conn.Outcome().TriedLogin
}

// BackendRefused reports whether the backend has refused to serve the client, or was not to
// be understood, or did not greet.
func (j *Joined) BackendRefused() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.x.BackendRefused()
}

// Err returns why the session was ended by us, or was not upgraded, or nil.
func (j *Joined) Err() error {
	j.mu.Lock()
	err := j.endedAs
	j.mu.Unlock()
	if err != nil {
		return j.conn.named(err)
	}
	return j.conn.Err()
}

// Write takes what the backend says to the client.
func (j *Joined) Write(p []byte) (int, error) {
	n, err := j.write(p)
	j.noteWrite(n, err)
	return n, err
}

func (j *Joined) write(p []byte) (int, error) {
	j.spoken.Store(true)
	if j.writeDirect.Load() {
		return j.conn.Write(p)
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	if j.x.Closed() {
		defer j.mu.Unlock()
		return j.unheard(p)
	}
	j.backendSaid = time.Now()
	out := j.x.BackendSays(p)
	j.settle()
	j.notify()
	j.mu.Unlock()
	if err := j.send(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unheard takes what the backend says to a client that has had its last words. The backend
// will see the end; one that goes on and on does not. The caller holds mu.
func (j *Joined) unheard(p []byte) (int, error) {
	if !j.goodbye.IsZero() && time.Since(j.goodbye) > drainLimit {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

// settle takes the filter out of the way of the backend's words once it has left; the
// caller holds mu and writing.
func (j *Joined) settle() {
	if j.x.Detached() && !j.x.HasForClient() && !j.writeDirect.Load() {
		j.writeDirect.Store(true)
		j.conn.endPatience()
		if j.limits.plaintext.IsZero() { // or its end may yet be put in the filter's words
			j.x.Forget()
		}
	}
}

// send writes to the client, and ends our half behind the last words; the caller holds
// writing. Last words that have come up meanwhile are not sent yet: whoever sends them ends
// our half.
func (j *Joined) send(p []byte) error {
	var err error
	if len(p) > 0 {
		_, err = j.conn.Write(p)
	}
	j.mu.Lock()
	closing := j.x.Closed() && !j.x.HasForClient() && j.goodbye.IsZero()
	if closing {
		j.goodbye = time.Now()
	}
	j.mu.Unlock()
	if closing {
		_ = j.conn.CloseWrite()
	}
	return err
}

// flush sends what a filter has said to the client itself.
func (j *Joined) flush() error {
	j.mu.Lock()
	idle := !j.x.HasForClient() && (!j.x.Closed() || !j.goodbye.IsZero())
	j.mu.Unlock()
	if idle {
		return nil
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	out := j.x.DeliverToClient()
	j.mu.Unlock()
	return j.send(out)
}

// CloseWrite is called when the backend has nothing more to say. A filter that
// still waits for something is told, so that the client does not wait in vain. The client
// has 30 seconds from then on to end, too.
func (j *Joined) CloseWrite() error {
	j.account.end(ByBackend, nil)
	j.data.controlOver()
	defer j.account.finish(false, true)
	j.writing.Lock()
	defer j.writing.Unlock()
	j.mu.Lock()
	if j.x.Closed() {
		j.mu.Unlock()
		return nil
	}
	j.x.BackendEnded()
	out := j.x.DeliverToClient()
	j.drain()
	j.notify()
	closed := j.x.Closed()
	j.mu.Unlock()
	err := j.send(out)
	if closed {
		return err
	}
	return cmp.Or(err, j.conn.CloseWrite())
}

// Returned is called when whoever was handed the connection has returned, with the error
// if the backend could not be reached. A client that has heard nothing from the
// backend is told so, and one that has had its last words is given time to read them.
func (j *Joined) Returned(err error) {
	until := time.Now().Add(drainTimeout)
	j.mu.Lock()
	if err != nil && !j.spoken.Load() && j.endedAs == nil && j.conn.Err() == nil {
		j.account.end(ByBackend, err)
		j.x.CloseFor(ErrBackend)
	}
	closed := j.x.Closed()
	if closed {
		j.limits.last = until
		j.applyLimits()
	}
	j.poke()
	j.mu.Unlock()
	if closed {
		_ = j.conn.setWriteDeadline(until)
		_ = j.flush()
		j.conn.drain()
	}
	j.data.wait()
}

// Close closes the client's connection.
func (j *Joined) Close() error {
	j.mu.Lock()
	j.over = true
	j.poke()
	j.mu.Unlock()
	j.account.end(ByProxy, nil)
	j.data.controlOver()
	j.account.finish(true, true)
	return j.conn.Close()
}

// NetConn returns the client's Conn.
func (j *Joined) NetConn() net.Conn { return j.conn }

// LocalAddr returns the local address of the client's connection.
func (j *Joined) LocalAddr() net.Addr { return j.conn.LocalAddr() }

// RemoteAddr returns the client's address.
func (j *Joined) RemoteAddr() net.Addr { return j.conn.RemoteAddr() }

var _ net.Conn = (*Joined)(nil)
