package upgrade

import (
	"context"
	"errors"
	"net"
	"os"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// drainTimeout is how long a refused peer has to take its last words before the
// connection is closed on it.
const drainTimeout = 2 * time.Second

// Accept plays the server on raw: the plaintext phase of proto up to the
// go-ahead, then the TLS handshake. It ends with ctx, which is nothing to the connection
// afterwards. After an error the connection is of no further use but for Conn.Outcome, and is never
// nil. The caller closes raw, as always.
func Accept(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, false)
	if proto == nil {
		return c, c.named(ErrUnsupported)
	}
	return c, c.Negotiate(ctx)
}

// Request plays the client on raw: it asks for the upgrade as proto does, and
// does the TLS handshake. Only the protocol's exact consent counts. A server that does not
// offer the upgrade is ErrNotOffered, or stays in plaintext if Config.Optional allows that:
// ask Outcome.Cleartext. For the rest it is as Accept.
func Request(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, true)
	if proto == nil {
		return c, c.named(ErrUnsupported)
	}
	return c, c.Negotiate(ctx)
}

// An Outcome is how the plaintext phase of a connection ended, and what was learnt in it.
// It was all said in plaintext, so nobody vouches for it.
type Outcome struct {
	Cleartext   bool // the client or the server stays in plaintext, as Config.Optional allows
	ImplicitTLS bool // the client began with a ClientHello, as Config.ImplicitTLS allows

	// CancelRequest reports that the client, which stays in plaintext, has sent nothing but a
	// request to cancel what goes on in another session, and is not heard any further. Join
	// lets it through to the backend whatever Config.Optional says.
	CancelRequest bool

	// Hello is the name that the client gave itself.
	Hello string

	// ServerName is the name of the host that the client asked for, in the protocols
	// where it does.
	ServerName string

	// PlaintextLogin reports, for a client, that the server lets it log in without TLS,
	// by whatever mechanism. PlaintextLoginKnown reports that the server said so, or not.
	PlaintextLogin, PlaintextLoginKnown bool

	// TriedLogin reports, for a server, that the client has tried to log in before TLS, and
	// was refused. The password that it may have sent is known to whoever listens.
	TriedLogin bool

	// NegotiationTime is how long the plaintext phase took, and HandshakeTime the TLS
	// handshake, whether they succeeded or not.
	NegotiationTime, HandshakeTime time.Duration
}

// plaintext is what the plaintext phase has left.
type plaintext struct {
	outcome      Outcome
	kept         []byte
	introduction []byte // TLS makes it void
	answer       []byte // to be said inside TLS
	request      int    // the size of a CancelRequest
	heard        bool   // the peer has said something
}

// Outcome returns how the plaintext phase ended. Before its end it is the zero value.
func (c *Conn) Outcome() Outcome {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	return c.outcome
}

// publishOutcome lets Outcome see what has been learnt; the caller holds both locks.
func (c *Conn) publishOutcome() {
	c.publishing.Lock()
	defer c.publishing.Unlock()
	c.outcome = c.plain.outcome
}

// Negotiate plays the plaintext phase of the connection's protocol and then does
// the TLS handshake; later calls do nothing but repeat the outcome. Read and
// Write call it. On a connection without a protocol it does nothing.
func (c *Conn) Negotiate(ctx context.Context) error {
	if c.proto == nil || c.negotiated.Load() {
		return nil
	}
	if c.role() == nil {
		return c.named(ErrUnsupported)
	}
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	if c.negotiated.Load() {
		return nil
	}
	watch := c.interruptWith(ctx)
	defer watch.stop()
	if err := c.playPlaintext(ctx, watch); err != nil {
		return err
	}
	if !c.entersTLS() {
		c.negotiated.Store(true)
		return nil
	}
	return c.startTLS(ctx, watch, nil, nil)
}

// entersTLS reports whether the handshake comes behind the plaintext phase, and is ours.
func (c *Conn) entersTLS() bool {
	return !c.plain.outcome.Cleartext && !c.config.Passthrough && !c.leftToFilter()
}

// playPlaintext plays the plaintext phase, and leaves the connection with the go-ahead
// exchanged. If the handshake comes next, watch goes on, and so does the deadline, until the
// handshake sets its own.
func (c *Conn) playPlaintext(ctx context.Context, watch *interruption) error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.Err(); err != nil {
		return err
	}
	n := c.beginNegotiation(ctx)
	defer n.end()
	s := &n.session
	defer c.forClient.hear(ctx, s)()
	begun := time.Now()
	err := interrupted(ctx, c.negotiate(s, &n.in))
	c.plain.outcome.NegotiationTime = time.Since(begun)
	c.publishOutcome()
	if err == nil && c.entersTLS() {
		return nil
	}
	if (err == nil || ctx.Err() != nil) && !watch.stop() && err == nil { // after stop, nothing cuts last words short
		err = context.Cause(ctx)
	}
	if err == nil {
		err = c.raw.SetDeadline(time.Time{})
	}
	if err != nil {
		c.refuse(s, err)
		c.spoil(withLimit(s, err))
	}
	return c.Err()
}

// learn keeps what a session has found out.
func (p *plaintext) learn(r dialogue.Result) {
	p.outcome.Cleartext = r.Cleartext
	p.outcome.Hello, p.outcome.ServerName = r.Hello, r.ServerName
	p.outcome.PlaintextLogin, p.outcome.PlaintextLoginKnown = r.PlaintextLogin, r.PlaintextLoginKnown
	p.outcome.TriedLogin = r.TriedLogin
	p.kept, p.introduction, p.answer = r.Kept, r.Introduction, r.Answer
	if p.outcome.CancelRequest = r.CancelRequest; r.CancelRequest {
		p.request = len(r.Unread)
	}
}

// role is what the protocol plays on this side, or nil.
func (c *Conn) role() func(*dialogue.Session) error {
	switch {
	case c.client:
		return c.proto.Request
	case c.leftToFilter():
		return leaveToFilter
	}
	return c.proto.Accept
}

// negotiate plays the role that the connection has, up to the boundary. What the session
// has read and not consumed goes back in front of the connection.
func (c *Conn) negotiate(s *dialogue.Session, in *plainReader) error {
	if err := in.begin(time.Now().Add(c.config.negotiationTimeout())); err != nil {
		return err
	}
	direct, err := c.beginsWithTLS(s, in)
	switch {
	case direct && !c.admitUpgrade():
		err = ErrTooManyUpgrades
	case err == nil && !direct:
		err = c.role()(s)
	}
	if err == nil {
		err = in.pause(s.PausesFor())
	}
	if errors.Is(err, ErrNotOffered) {
		err = s.Resume(c.proto, err)
	}
	if c.client {
		err = s.Hint(s.Quote(err))
	}
	c.plain.heard = s.Heard()
	result := s.Result()
	c.plain.learn(result)
	c.raw.Unread(append(s.ServerGreeting(), result.Unread...))
	c.plain.outcome.ImplicitTLS = direct
	switch {
	case errors.Is(err, dialogue.ErrCleartext):
		return nil
	case err != nil || direct:
		return err
	}
	return c.grant(result.GoAhead)
}

// grant passes the boundary, and leaves a ClientHello that is there already in front of
// the connection. Where TLS is left to others it sees to it that the client begins it.
// Whatever goes wrong once the go-ahead is on its way counts to the handshake: not a word
// in plaintext is due any more.
func (c *Conn) grant(goAhead []byte) error {
	early, err := c.boundary(goAhead)
	if err != nil {
		return err
	}
	c.raw.Unread(early)
	if c.client || !c.config.Passthrough {
		return nil
	}
	if err := c.raw.SetDeadline(time.Now().Add(c.config.handshakeTimeout())); err != nil {
		return err
	}
	first, err := c.readBehindBlanks()
	if err == nil && !c.beginsHandshake(first) {
		err = ErrNotTLS
	}
	return err
}

// beginsWithTLS looks for a ClientHello in place of the negotiation. Where the server
// speaks first, a client that waits for the greeting sends nothing, and has it after
// a moment, of which the deadline of the whole phase takes no notice.
func (c *Conn) beginsWithTLS(s *dialogue.Session, in *plainReader) (bool, error) {
	if c.client || !c.config.ImplicitTLS {
		return false, nil
	}
	if c.proto.ServerFirst {
		until := in.until
		defer func() { in.setUntil(until) }()
		in.setUntil(time.Now().Add(c.config.implicitTLSDelay()))
	}
	err := context.Cause(in.ctx)
	if err == nil {
		err = s.Fill()
	}
	if c.proto.ServerFirst && errors.Is(err, ErrTimeout) {
		return false, context.Cause(in.ctx)
	}
	return err == nil && s.Buffered()[0] == dialogue.RecordTypeHandshake, err
}

// interrupted names the context where it was its end that ended a read or a write.
func interrupted(ctx context.Context, err error) error {
	if !errors.Is(err, ErrTimeout) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded // which the connection has noticed first
	}
	return err
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
