package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// StartTLS does the TLS handshake on the open connection, as the server or the
// client that the Conn was made as. It waits for a Read or Write in progress, and
// ends with ctx or after Config.HandshakeTimeout, whichever is sooner. After that timeout
// the connection below is closed: a callback of the tls.Config that takes longer, such as
// GetCertificate, is waited for, but the peer is not kept waiting.
//
// Bytes that were read in plaintext but not consumed are never delivered as if they
// had come over TLS: a server takes them for the beginning of a ClientHello if
// they look like one, all else is ErrPipelined. After an error the connection is
// of no further use, and not a byte in plaintext follows.
func (c *Conn) StartTLS(ctx context.Context) error {
	watch := c.interruptWith(ctx)
	defer watch.stop()
	return c.startTLS(ctx, watch, nil, nil)
}

// startTLS is StartTLS with what has been read from the connection elsewhere, and
// with the go-ahead to send if all is well.
func (c *Conn) startTLS(ctx context.Context, watch *interruption, read, goAhead []byte) error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.tls.Load() != nil {
		return errors.New("upgrade: TLS is already active")
	}
	if err := c.Err(); err != nil {
		return err
	}
	c.raw.Unread(append(c.line, read...))
	c.line = nil
	early, err := c.boundary(goAhead)
	if err == nil {
		begun := time.Now()
		err = interrupted(ctx, c.handshake(ctx, watch, early))
		c.plain.outcome.HandshakeTime = time.Since(begun)
		c.publishOutcome()
	}
	if err != nil {
		c.spoil(err)
	}
	return c.Err()
}

// boundary is the one place where plaintext ends. It is passed before the
// go-ahead is sent, and nothing that was read before it is read after it, but for
// a ClientHello where the protocol has no go-ahead to wait for: that is what it returns.
// Blanks are dropped that the protocol lets a client send.
func (c *Conn) boundary(goAhead []byte) (early []byte, err error) {
	early = make([]byte, c.raw.Buffered())
	if len(early) > 0 {
		if _, err := io.ReadFull(&c.raw, early); err != nil {
			return nil, err
		}
	}
	early = c.dropBlanks(early)
	if len(early) > 0 && (c.client || goAhead != nil || !c.beginsHandshake(early[0])) {
		return nil, ErrPipelined
	}
	if goAhead != nil {
		if _, err := c.raw.Write(goAhead); err != nil {
			return nil, fmt.Errorf("%w: %w", dialogue.ErrHandshake, dialogue.AsNegotiationError(err))
		}
	}
	return early, nil
}

// handshake runs with both locks held. The context's end reaches it through the
// deadline that watch guards, so no goroutine has to watch it.
func (c *Conn) handshake(ctx context.Context, watch *interruption, early []byte) error {
	config, err := c.tlsConfig()
	if err != nil {
		return err
	}
	below := &transport{Conn: prefixconn.Make(&c.raw, early), conn: c}
	packets := c.inPackets(below)
	t := tls.Server(below, config)
	if c.client {
		t = tls.Client(below, config)
	}
	deadline, err := c.beginHandshake(ctx, early)
	if err != nil {
		return err
	}
	direct := c.plain.outcome.ImplicitTLS && c.proto.DirectALPN
	if direct {
		if err := requireALPN(context.WithoutCancel(ctx), below, config); err != nil {
			return err
		}
	}
	if err := c.shakeHands(ctx, t, deadline); err != nil {
		return below.hint(handshakeError(below.alerts.explain(err)))
	}
	if err := packets.end(); err != nil {
		return handshakeError(err)
	}
	if !watch.stop() && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if direct && t.ConnectionState().NegotiatedProtocol == "" {
		return ErrNoALPN
	}
	if err := c.settle(t); err != nil {
		return err
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.plain.introduction = nil
	c.tls.Store(t)
	c.negotiated.Store(true)
	return nil
}

// beginHandshake sets the deadline of the handshake, and drops blanks in front of it that the
// client may send.
func (c *Conn) beginHandshake(ctx context.Context, early []byte) (deadline time.Time, err error) {
	deadline = time.Now().Add(c.config.handshakeTimeout())
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.raw.SetDeadline(deadline); err != nil {
		return deadline, err
	}
	if ctx.Err() != nil {
		return deadline, context.Cause(ctx)
	}
	if c.blanks == 0 || len(early) > 0 {
		return deadline, nil
	}
	first, err := c.readBehindBlanks()
	if err == nil && isBlank(first) {
		err = ErrNotTLS
	}
	return deadline, err
}

// shakeHands ends the connection at the deadline, too, if nobody waits for the peer then, but
// for a callback of the configuration: GetCertificate may ask a CA for one.
func (c *Conn) shakeHands(ctx context.Context, t *tls.Conn, deadline time.Time) error {
	overdue := time.AfterFunc(time.Until(deadline), func() { _ = c.raw.Close() })
	err := t.HandshakeContext(c.withRequestedName(context.WithoutCancel(ctx)))
	if !overdue.Stop() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// settle does what is left to do inside TLS before anybody reads from it.
func (c *Conn) settle(t *tls.Conn) error {
	switch {
	case c.proto == nil:
	case !c.client:
		if c.proto.AnsweredInside {
			c.line, c.plain.kept = c.plain.kept, nil
		}
		return c.answerInside(t)
	case c.proto.Settle != nil:
		s := dialogue.NewSession(c.proto, c.options(), t, t, true)
		err := s.Quote(c.proto.Settle(s))
		if err == nil && s.Pipelined() {
			err = ErrPipelined // it would be taken for the answer to what is said next
		}
		return settled(err)
	}
	return nil
}

// settled names an error of what comes inside TLS. A server that breaks its protocol there has
// not done so before TLS, which is what the errors for that would say.
func settled(err error) error {
	if err == nil || errors.Is(err, ErrTimeout) || errors.Is(err, ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: behind it: %v", dialogue.ErrHandshake, err) //nolint:errorlint // see above
}

// answerInside says what has been left to say to a client.
func (c *Conn) answerInside(t *tls.Conn) error {
	if len(c.plain.answer) == 0 {
		return nil
	}
	_, err := t.Write(c.plain.answer)
	c.plain.answer = nil
	return dialogue.AsNegotiationError(err)
}

type requestedNameKey struct{}

func (c *Conn) withRequestedName(ctx context.Context) context.Context {
	if c.plain.outcome.ServerName == "" {
		return ctx
	}
	return context.WithValue(ctx, requestedNameKey{}, c.plain.outcome.ServerName)
}

// RequestedName is for the callbacks of a tls.Config: with the context of a
// ClientHelloInfo it returns Outcome.ServerName of the connection, or nothing.
func RequestedName(ctx context.Context) string {
	name, _ := ctx.Value(requestedNameKey{}).(string)
	return name
}

// tlsConfig is the caller's, untouched, or for a client a clone that offers the protocol's
// ALPN id.
func (c *Conn) tlsConfig() (*tls.Config, error) {
	config := c.config.TLS
	switch {
	case !c.client && config == nil:
		return nil, errors.New("no TLS configuration with a certificate")
	case !c.client && c.hasData():
		c.mark = newMark()
		return marked(config, c.mark), nil
	case !c.client && c.packets() != nil:
		return adjusted(config, func(c *tls.Config, _ *tls.ClientHelloInfo) { forPackets(c) }), nil
	case !c.client:
		return config, nil
	case config == nil:
		config = new(tls.Config)
	}
	config = config.Clone()
	if c.hasData() {
		config.ClientSessionCache = &c.sessions
	}
	switch {
	case c.packets() != nil:
		forPackets(config)
	case config.NextProtos == nil && c.proto != nil:
		config.NextProtos = slices.Clone(c.proto.ALPN[:min(1, len(c.proto.ALPN))])
	}
	if config.ServerName == "" && !config.InsecureSkipVerify {
		return nil, errors.New("no server name to verify the certificate against")
	}
	return config, nil
}

// hasData reports whether there may be further connections.
func (c *Conn) hasData() bool { return c.proto != nil && c.proto.DataConnections }

// handshakeError names a peer that never began TLS apart from one that failed at it.
func handshakeError(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return fmt.Errorf("%w: first bytes %x", ErrNotTLS, header.RecordHeader)
	}
	return fmt.Errorf("%w: %w", dialogue.ErrHandshake, asDistrust(err))
}

// A transport is what crypto/tls reads. It keeps apart an end that close_notify
// announced, which crypto/tls reports by itself, and one that it did not.
type transport struct {
	prefixconn.Conn
	conn  *Conn
	heard bool // of the peer, in the handshake

	alerts alertWatch // of the handshake
}

// hint adds ErrExpectsTLS to the error of a client that has not heard a word in all this
// time: the server may wait for the rest of what it takes for a record of TLS.
func (t *transport) hint(err error) error {
	if t.conn.client && !t.heard && !t.conn.plain.heard && t.conn.proto != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%w: %w", err, ErrExpectsTLS)
	}
	return err
}

// Write implements io.Writer. The handshake has a deadline of its own.
func (t *transport) Write(p []byte) (int, error) {
	if t.conn.tls.Load() == nil {
		return t.Conn.Write(p)
	}
	return t.conn.writeRaw(p)
}

// Read implements io.Reader.
func (t *transport) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n > 0 && !t.heard {
		t.heard = true // once: reads are not concurrent
	}
	if t.conn.tls.Load() == nil {
		t.alerts.see(p[:n])
	}
	if n == 0 && errors.Is(err, io.EOF) {
		return 0, ErrTruncated
	}
	return n, err
}
