package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// How long a refused peer has to take its farewell before the connection is
// closed on it.
const farewellTimeout = 2 * time.Second

// Accept plays the server on raw: the plaintext phase of proto up to the
// go-ahead, then the TLS handshake. It ends with ctx. After an error the
// connection is of no further use and the caller closes raw, as always.
func Accept(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, false)
	return c, c.Negotiate(ctx)
}

// AcceptPlaintext plays the server on raw up to the go-ahead, and leaves TLS to
// others: whoever reads raw next reads the client's ClientHello.
func AcceptPlaintext(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, false)
	return c, c.Plaintext(ctx)
}

// Request plays the client on raw: it asks for the upgrade as proto does, and
// does the TLS handshake. Only the protocol's exact consent counts.
func Request(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, true)
	return c, c.Negotiate(ctx)
}

// RequestPlaintext plays the client on raw up to the server's consent, and leaves
// TLS to Conn.StartTLS, or to others: what raw carries next is a ClientHello.
func RequestPlaintext(ctx context.Context, raw net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, true)
	return c, c.Plaintext(ctx)
}

// Negotiate plays the plaintext phase of the connection's protocol and then does
// the TLS handshake; later calls do nothing but repeat the outcome. Read and
// Write call it. On a connection without a protocol it does nothing.
func (c *Conn) Negotiate(ctx context.Context) error {
	if c.proto == nil || c.proto.Relay != nil && !c.client || c.negotiated.Load() {
		return nil
	}
	c.negotiating.Lock()
	defer c.negotiating.Unlock()
	if c.negotiated.Load() {
		return nil
	}
	if err := c.Plaintext(ctx); err != nil {
		return err
	}
	if !c.committed {
		return c.StartTLS(ctx)
	}
	c.negotiated.Store(true)
	return nil
}

// Plaintext plays the plaintext phase alone, and leaves the connection in clear
// with the go-ahead exchanged: whoever reads next reads a ClientHello. It is for
// those who do not terminate TLS themselves.
func (c *Conn) Plaintext(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.SetDeadline(longAgo) })
	defer stop()
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	err := interrupted(ctx, c.plaintext(ctx))
	if errors.Is(err, errCommitted) {
		c.committed, err = true, nil
		c.negotiated.Store(true)
	}
	if err == nil && !stop() {
		err = ctx.Err()
	}
	if err == nil {
		err = c.raw.SetDeadline(time.Time{})
	}
	if err != nil {
		c.farewell(err)
		c.spoil(err)
	}
	return c.broken
}

func (c *Conn) plaintext(ctx context.Context) error {
	role := c.proto.Accept
	if c.client {
		role = c.proto.Request
	}
	if role == nil {
		return ErrUnsupported
	}
	c.session = newSession(c)
	deadline := time.Now().Add(c.config.negotiationTimeout())
	if err := errors.Join(c.raw.SetDeadline(deadline), ctx.Err()); err != nil {
		return err // a context that ended before had its own deadline overwritten
	}
	if direct, err := c.beginsWithTLS(ctx, deadline); direct || err != nil {
		return err
	}
	if err := role(c.session); err != nil {
		return err
	}
	return asNegotiationError(c.boundary(c.session.goAhead))
}

// beginsWithTLS looks for a ClientHello in place of the negotiation. Where the server
// speaks first, a client that waits for the greeting sends nothing, and has it after
// a moment, of which the deadline of the whole phase takes no notice.
func (c *Conn) beginsWithTLS(ctx context.Context, deadline time.Time) (bool, error) {
	if c.client || !c.config.ImplicitTLS {
		return false, nil
	}
	if c.proto.ServerFirst {
		_ = c.raw.SetReadDeadline(time.Now().Add(c.config.implicitTLSDelay()))
	}
	err := ctx.Err()
	if err == nil && len(c.buf) == 0 {
		err = c.session.fill()
	}
	if c.proto.ServerFirst {
		_ = c.raw.SetReadDeadline(deadline)
		if errors.Is(err, ErrTimeout) {
			return false, ctx.Err()
		}
	}
	c.direct = err == nil && c.buf[0] == recordTypeHandshake
	return c.direct, err
}

// Committed tells whether the client has gone on in clear, as Config.Optional
// allows. The connection is then used as it is.
func (c *Conn) Committed() bool { return c.committed }

// interrupted names the context where it was its end that ended a read or a write.
func interrupted(ctx context.Context, err error) error {
	if !errors.Is(err, ErrTimeout) && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded // which the connection has noticed first
	}
	return err
}

func cancelled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// named adds the package's and the protocol's name to an error, once.
func (c *Conn) named(err error) error {
	if c.proto == nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return fmt.Errorf("upgrade: %s: %w", c.proto.Name, err)
}

// farewell tells a client why its session ends, in its protocol's words, and
// waits a little for it to read them: closing at once would reset the connection
// and take the words away again if the client has sent more than we have read.
func (c *Conn) farewell(why error) {
	if c.client || peerIsGone(why) || c.session == nil || cancelled(why) {
		return
	}
	_ = c.raw.SetDeadline(time.Now().Add(farewellTimeout))
	if words := c.wordFarewell(why); len(words) > 0 {
		if _, err := c.raw.Write(words); err != nil {
			return
		}
	}
	c.linger()
}

func (c *Conn) wordFarewell(why error) []byte {
	if c.proto == nil || c.proto.Farewell == nil || errors.Is(why, ErrQuit) {
		return nil
	}
	return c.proto.Farewell(c.session, why)
}

// linger ends our half and discards what the peer still sends, for a bounded
// time and number of reads.
func (c *Conn) linger() {
	below, ok := c.raw.(interface{ CloseWrite() error })
	if !ok || below.CloseWrite() != nil {
		return
	}
	scratch := make([]byte, 16<<10)
	for range 64 {
		if _, err := c.raw.Read(scratch); err != nil {
			return
		}
	}
}

// Hello returns the name that the client gave itself before TLS, for logs only.
func (c *Conn) Hello() string {
	if c.session == nil {
		return ""
	}
	return c.session.hello
}

// ServerName returns the name of the host that the client asked for before TLS,
// in the protocols where it does.
func (c *Conn) ServerName() string {
	if c.session == nil {
		return ""
	}
	return c.session.serverName
}

// PlaintextLogin tells whether the server lets a client log in without TLS, by
// whatever mechanism, according to what it said before TLS. It is known to a client
// that got that far, in the protocols that have a word for it.
func (c *Conn) PlaintextLogin() (offered, known bool) {
	if c.session == nil {
		return false, false
	}
	return c.session.plaintextLogin, c.session.loginKnown
}
