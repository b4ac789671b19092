package upgrade

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxConnLine bounds what Conn.ReadLine accepts, in octets.
const maxConnLine = 8192

// longAgo is a deadline that makes blocked calls return.
var longAgo = time.Unix(1, 0)

// A Conn is a connection that starts in plaintext and becomes TLS in place. One
// goroutine may read while another writes. It implements net.Conn; deadlines
// apply to both phases, but StartTLS clears them when it succeeds.
//
// Whoever made the connection below closes it, by Conn.Close or directly.
type Conn struct {
	// Locks: negotiating is taken first, then readMu, then writeMu. A Read holds readMu
	// alone, a Write writeMu alone; StartTLS and the negotiation hold both, so that no Read
	// or Write straddles them.

	raw    prefixconn.Conn // what has been read and not consumed, then the connection below
	config *Config
	proto  *Protocol // nil: the caller holds the plaintext conversation
	client bool
	joined bool // to a backend, as Join does
	blanks int  // that the client may still send in front of TLS; guarded by both locks below

	negotiating sync.Mutex
	negotiated  atomic.Bool
	plain       plaintext // what the plaintext phase has left; guarded by both locks below
	patience    patience
	forClient   *waitingClient // for whom we ask; nil if nobody is to be told

	publishing sync.Mutex
	outcome    Outcome // that of plain, for Outcome; guarded by publishing

	mark     []byte       // of the sessions of TLS, if there are further connections
	sessions sessionCache // the session of TLS that those of a client resume

	readMu, writeMu sync.Mutex
	line            []byte                // read by ReadLine over TLS, not consumed; guarded by readMu
	heardEnd        atomic.Bool           // the peer has ended its half of TLS
	broken          atomic.Pointer[error] // why there will be no TLS; set with both held
	tls             atomic.Pointer[tls.Conn]
}

// Server makes the server's side of a connection that is still in plaintext. The
// caller holds the plaintext conversation and calls StartTLS.
func Server(raw net.Conn, config *Config) *Conn { return newConn(raw, nil, config, false) }

// options are those of the configuration, and of this connection. They are made anew each time:
// a session that waits needs none.
func (c *Conn) options() *dialogue.Options {
	o := new(dialogue.Options)
	c.fillOptions(o)
	return o
}

// fillOptions is options for those who have a place for them.
func (c *Conn) fillOptions(o *dialogue.Options) {
	c.config.fillOptions(o, c.proto)
	o.Joined, o.Passed = c.joined, c.joined && c.config.Passthrough
	if c.config.AdmitUpgrade != nil && !c.client {
		o.AdmitUpgrade = c.admitUpgrade
	}
}

// Client is Server for the client's side.
func Client(raw net.Conn, config *Config) *Conn { return newConn(raw, nil, config, true) }

func newConn(raw net.Conn, proto *Protocol, config *Config, client bool) *Conn {
	if config == nil {
		config = new(Config)
	}
	return &Conn{raw: prefixconn.Make(raw, nil), proto: proto, config: config, client: client, blanks: blanksFor(proto, client)}
}

// Read reads plaintext before the upgrade and decrypted bytes after it. A
// connection that has a protocol is negotiated first.
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.Negotiate(context.Background()); err != nil {
		return 0, err
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if len(c.line) > 0 {
		n := copy(p, c.line)
		c.line = c.line[n:]
		return n, nil
	}
	r, err := c.reader()
	if err != nil {
		return 0, err
	}
	n, err := r.Read(p)
	if err == io.EOF { //nolint:errorlint // as it is documented for io.Reader
		c.heardEnd.Store(true)
	}
	return n, asDistrust(err)
}

// Write writes plaintext before the upgrade and over TLS after it.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.Negotiate(context.Background()); err != nil {
		return 0, err
	}
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.Err(); err != nil {
		return 0, err
	}
	if t := c.tls.Load(); t != nil {
		return t.Write(p)
	}
	return c.writeRaw(p)
}

// ReadLine reads a line, in plaintext or over TLS, and returns it without its LF or
// CRLF. A line of more than 8192 octets is ErrLineTooLong. What follows the line
// stays for the next Read, and counts as unread plaintext for StartTLS.
func (c *Conn) ReadLine() (string, error) {
	if err := c.Negotiate(context.Background()); err != nil {
		return "", err
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for {
		if line, ok := dialogue.CutLine(&c.line); ok {
			return line, nil
		}
		if len(c.line) >= maxConnLine {
			return "", fmt.Errorf("upgrade: %w", ErrLineTooLong)
		}
		r, err := c.reader()
		if err != nil {
			return "", err
		}
		chunk := make([]byte, 4096)
		n, err := r.Read(chunk)
		c.line = append(c.line, chunk[:n]...)
		if n == 0 {
			return "", err
		}
	}
}

// negotiatedIn notes how long a client that was joined before the upgrade took to ask.
func (c *Conn) negotiatedIn(d time.Duration) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.plain.outcome.NegotiationTime = d
}

// reader is what to read from; the caller holds readMu.
func (c *Conn) reader() (io.Reader, error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	if t := c.tls.Load(); t != nil {
		return t, nil
	}
	return &c.raw, nil
}

// spoil makes the connection unusable, for the given reason, and forgets what was
// read in plaintext; the caller holds both locks.
func (c *Conn) spoil(why error) {
	why = c.named(why)
	c.broken.Store(&why)
	c.line = nil
}

// Err returns why the connection was not upgraded, or nil. It does not wait.
func (c *Conn) Err() error {
	if why := c.broken.Load(); why != nil {
		return *why
	}
	return nil
}

// named adds the package's and the protocol's name to an error, once.
func (c *Conn) named(err error) error {
	if c.proto == nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	return fmt.Errorf("upgrade: %s: %w", c.proto.Name, err)
}

// TLSConnectionState returns the state of the TLS connection; ok is false as
// long as the connection is in plaintext.
func (c *Conn) TLSConnectionState() (state tls.ConnectionState, ok bool) {
	t := c.tls.Load()
	if t == nil {
		return tls.ConnectionState{}, false
	}
	return t.ConnectionState(), true
}

// CloseWrite ends our half of the connection: with close_notify, then with what
// the connection below has for it. The other half stays open for reading. Over TLS that
// the peer has ended before, close_notify is all: Close, which ends the connection below, is
// what is left to do.
func (c *Conn) CloseWrite() error {
	c.endPatience() // crypto/tls bounds close_notify itself
	var err error
	if t := c.tls.Load(); t != nil {
		if err = t.CloseWrite(); c.heardEnd.Load() {
			return err
		}
	}
	if below := c.raw.CloseWrite(); !errors.Is(below, errors.ErrUnsupported) {
		err = cmp.Or(err, below)
	}
	return err
}

// Close closes the connection, over TLS with close_notify.
func (c *Conn) Close() error {
	c.endPatience()
	if t := c.tls.Load(); t != nil {
		return t.Close()
	}
	return c.raw.Close()
}

// NetConn returns the connection below. Using it spoils the Conn.
func (c *Conn) NetConn() net.Conn { return c.raw.NetConn() }

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
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setWriteDeadline(t) }

var _ net.Conn = (*Conn)(nil)
