package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxConnLine bounds what Conn.ReadLine accepts, in octets.
const maxConnLine = 8192

// longAgo is a deadline that makes blocked calls return.
var longAgo = time.Unix(1, 0)

// A Conn is a connection that starts in clear and becomes TLS in place. One
// goroutine may read while another writes. It implements net.Conn; deadlines
// apply to both phases, but StartTLS clears them when it succeeds.
//
// Whoever made the connection below closes it, by Conn.Close or directly.
type Conn struct {
	raw    net.Conn
	config *Config
	proto  *Protocol // nil: the caller holds the plaintext conversation
	client bool

	session   *Session // the negotiation's, nil before it
	committed bool     // the client goes on in clear
	direct    bool     // the client began with a ClientHello

	negotiating sync.Mutex
	negotiated  atomic.Bool

	// Both are held through StartTLS, so that no Read or Write straddles it.
	readMu, writeMu sync.Mutex
	buf             []byte // read, not consumed; of the present phase only; guarded by readMu
	broken          error  // why there will be no TLS; guarded by both
	tls             atomic.Pointer[tls.Conn]
}

// Server makes the server's side of a connection that is still in clear. The
// caller holds the plaintext conversation and calls StartTLS.
func Server(raw net.Conn, config *Config) *Conn { return newConn(raw, nil, config, false) }

// Client is Server for the client's side.
func Client(raw net.Conn, config *Config) *Conn { return newConn(raw, nil, config, true) }

func newConn(raw net.Conn, proto *Protocol, config *Config, client bool) *Conn {
	if config == nil {
		config = new(Config)
	}
	return &Conn{raw: raw, proto: proto, config: config, client: client}
}

// StartTLS does the TLS handshake on the open connection, as the server or the
// client that the Conn was made as. It waits for a Read or Write in progress, and
// ends with ctx or after Config.HandshakeTimeout, whichever is sooner.
//
// Bytes that were read in clear but not consumed are never delivered as if they
// had come over TLS: a server takes them for the beginning of a ClientHello if
// they look like one, all else is ErrPipelined. After an error the connection is
// of no further use, and not a byte in clear follows.
func (c *Conn) StartTLS(ctx context.Context) error { return c.startTLS(ctx, nil, nil) }

// startTLS is StartTLS with what has been read from the connection elsewhere, and
// with the go-ahead to send if all is well.
func (c *Conn) startTLS(ctx context.Context, read, goAhead []byte) error {
	stop := context.AfterFunc(ctx, func() { _ = c.raw.SetDeadline(longAgo) })
	defer stop()
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.tls.Load() != nil {
		return errors.New("upgrade: TLS is already active")
	}
	if c.broken != nil {
		return c.broken
	}
	c.buf = append(c.buf, read...)
	err := c.boundary(goAhead)
	if err == nil {
		err = interrupted(ctx, c.handshake(ctx, stop))
	}
	if err != nil {
		c.spoil(err)
	}
	return c.broken
}

// spoil makes the connection unusable, for the given reason, and forgets what was
// read in clear; the caller holds both locks.
func (c *Conn) spoil(why error) {
	c.broken = c.named(why)
	c.buf = nil
}

// fail makes the connection unusable, and tells why.
func (c *Conn) fail(why error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.broken == nil {
		c.spoil(why)
	}
}

// Err returns why the connection was not upgraded, or nil.
func (c *Conn) Err() error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.broken
}

// boundary is the one place where plaintext ends. It is passed before the
// go-ahead is sent, and nothing that was read before it is read after it, but for
// a ClientHello where the protocol has no go-ahead to wait for.
func (c *Conn) boundary(goAhead []byte) error {
	if len(c.buf) > 0 {
		early := !c.client && goAhead == nil && c.buf[0] == recordTypeHandshake
		if !early {
			return ErrPipelined
		}
	}
	if (c.client || goAhead != nil) && c.prefetched() {
		return ErrPipelined
	}
	if goAhead == nil {
		return nil
	}
	_, err := c.raw.Write(goAhead)
	return err
}

// prefetched tells whether the connection below has read ahead of us.
func (c *Conn) prefetched() bool {
	b, ok := c.raw.(interface{ Buffered() int })
	return ok && b.Buffered() > 0
}

// recordTypeHandshake begins every ClientHello (RFC 8446 section 5.1).
const recordTypeHandshake = 0x16

// handshake runs with both locks held. The context's end reaches it through the
// deadline that stop guards, so no goroutine has to watch it.
func (c *Conn) handshake(ctx context.Context, stop func() bool) error {
	early := c.buf
	c.buf = nil
	inner := &plainConn{Conn: c.raw, early: early}
	config, err := c.tlsConfig()
	if err != nil {
		return err
	}
	t := tls.Server(inner, config)
	if c.client {
		t = tls.Client(inner, config)
	}
	deadline := time.Now().Add(c.config.handshakeTimeout())
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := c.raw.SetDeadline(deadline); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	direct := c.direct && c.proto.DirectALPN
	if direct {
		if err := c.requireALPN(context.WithoutCancel(ctx), inner, config); err != nil {
			return err
		}
	}
	if err := t.HandshakeContext(c.withRequestedName(context.WithoutCancel(ctx))); err != nil {
		return handshakeError(err)
	}
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	if direct && t.ConnectionState().NegotiatedProtocol == "" {
		return ErrNoALPN
	}
	if err := c.raw.SetDeadline(time.Time{}); err != nil {
		return err
	}
	c.tls.Store(t)
	c.negotiated.Store(true)
	if c.session != nil {
		c.session.written, c.session.resume = false, nil
	}
	return nil
}

type requestedNameKey struct{}

func (c *Conn) withRequestedName(ctx context.Context) context.Context {
	return context.WithValue(ctx, requestedNameKey{}, c.ServerName())
}

// RequestedName is for the callbacks of a tls.Config: with the context of a
// ClientHelloInfo it returns what Conn.ServerName does, or nothing.
func RequestedName(ctx context.Context) string {
	name, _ := ctx.Value(requestedNameKey{}).(string)
	return name
}

// tlsConfig is the caller's, untouched, or for a client a clone that verifies
// against the protocol's ids.
func (c *Conn) tlsConfig() (*tls.Config, error) {
	config := c.config.TLS
	switch {
	case !c.client && config == nil:
		return nil, errors.New("no TLS configuration with a certificate")
	case !c.client:
		return config, nil
	case config == nil:
		config = new(tls.Config)
	}
	config = config.Clone()
	if config.NextProtos == nil && c.proto != nil {
		config.NextProtos = c.proto.ALPN
	}
	if config.ServerName == "" && !config.InsecureSkipVerify {
		return nil, errors.New("no server name to verify the certificate against")
	}
	return config, nil
}

// handshakeError tells a peer that never began TLS from one that failed at it.
func handshakeError(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) {
		return fmt.Errorf("%w: first bytes %x", ErrNotTLS, header.RecordHeader)
	}
	return fmt.Errorf("%w: %w", errHandshake, err)
}

// Read reads in clear before the upgrade and decrypted bytes after it. A
// connection that has a protocol is negotiated first.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Negotiate(context.Background()); err != nil {
		return 0, err
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.buf) > 0 {
		n := copy(p, c.buf)
		c.buf = c.buf[n:]
		return n, nil
	}
	r, err := c.reader()
	if err != nil {
		return 0, err
	}
	return r.Read(p)
}

// Write writes in clear before the upgrade and over TLS after it.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.Negotiate(context.Background()); err != nil {
		return 0, err
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	if t := c.tls.Load(); t != nil {
		return t.Write(p)
	}
	return c.raw.Write(p)
}

// ReadLine reads a line, in clear or over TLS, and returns it without its LF or
// CRLF. A line of more than 8192 octets is ErrLineTooLong. What follows the line
// stays for the next Read, and counts as unread plaintext for StartTLS.
func (c *Conn) ReadLine() (string, error) {
	if err := c.Negotiate(context.Background()); err != nil {
		return "", err
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for {
		if line, ok := cutLine(&c.buf); ok {
			return line, nil
		}
		if len(c.buf) >= maxConnLine {
			return "", fmt.Errorf("upgrade: %w", ErrLineTooLong)
		}
		if err := c.fill(); err != nil {
			return "", err
		}
	}
}

// fill adds one read to buf; the caller holds readMu.
func (c *Conn) fill() error {
	r, err := c.reader()
	if err != nil {
		return err
	}
	chunk := make([]byte, 4096)
	n, err := r.Read(chunk)
	c.buf = append(c.buf, chunk[:n]...)
	if n > 0 {
		return nil
	}
	return err
}

func (c *Conn) reader() (io.Reader, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	if t := c.tls.Load(); t != nil {
		return t, nil
	}
	return c.raw, nil
}

// TLSConnectionState returns the state of the TLS connection; ok is false as
// long as the connection is in clear.
func (c *Conn) TLSConnectionState() (state tls.ConnectionState, ok bool) {
	t := c.tls.Load()
	if t == nil {
		return tls.ConnectionState{}, false
	}
	return t.ConnectionState(), true
}

// CloseWrite ends our half of the connection: with close_notify, then with what
// the connection below has for it. The other half stays open for reading.
func (c *Conn) CloseWrite() error {
	var err error
	if t := c.tls.Load(); t != nil {
		err = t.CloseWrite()
	}
	if below, ok := c.raw.(interface{ CloseWrite() error }); ok {
		return errors.Join(err, below.CloseWrite())
	}
	return err
}

// Close closes the connection, over TLS with close_notify.
func (c *Conn) Close() error {
	if t := c.tls.Load(); t != nil {
		return t.Close()
	}
	return c.raw.Close()
}

// NetConn returns the connection below. Using it spoils the Conn.
func (c *Conn) NetConn() net.Conn { return c.raw }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline sets both deadlines of the connection below.
func (c *Conn) SetDeadline(t time.Time) error { return c.raw.SetDeadline(t) }

// SetReadDeadline sets the read deadline of the connection below.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// SetWriteDeadline sets the write deadline of the connection below. As in
// crypto/tls, a write that times out over TLS spoils the connection.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }

// plainConn is what crypto/tls reads: first the ClientHello that came early,
// then the connection. It also keeps apart an end that close_notify announced,
// which crypto/tls reports by itself, and one that it did not.
type plainConn struct {
	net.Conn
	early []byte
}

func (p *plainConn) Read(b []byte) (int, error) {
	if len(p.early) > 0 {
		n := copy(b, p.early)
		p.early = p.early[n:]
		return n, nil
	}
	n, err := p.Conn.Read(b)
	if n == 0 && errors.Is(err, io.EOF) {
		return 0, ErrTruncated
	}
	return n, err
}
