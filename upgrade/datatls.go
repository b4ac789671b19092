package upgrade

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// markPrefix tells the mark of a control connection from what others keep in a session.
const markPrefix = "l4starttls control connection "

var (
	// errNoSession is a further connection that does not resume the TLS session of its control
	// connection.
	errNoSession = errors.New("does not resume the TLS session of the control connection")

	// errForeignCertificate is one whose client has another certificate.
	errForeignCertificate = errors.New("client certificate is not that of the control connection")
)

// newMark makes the mark of a control connection.
func newMark() []byte {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	return append([]byte(markPrefix), id...)
}

// adjusted is a server's configuration with something changed in whichever it chooses for a
// client. Neither is modified.
func adjusted(config *tls.Config, change func(c *tls.Config, hello *tls.ClientHelloInfo)) *tls.Config {
	outer := config.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		chosen := config
		if config.GetConfigForClient != nil {
			other, err := config.GetConfigForClient(hello)
			if err != nil {
				return nil, err
			}
			if other != nil {
				chosen = other
			}
		}
		inner := chosen.Clone()
		inner.GetConfigForClient = nil
		if inner.WrapSession == nil { // the keys of the original outlive the connection
			inner.WrapSession, inner.UnwrapSession = chosen.EncryptTicket, chosen.DecryptTicket
		}
		change(inner, hello)
		return inner, nil
	}
	return outer
}

// marked is a server's configuration for a control connection, whose sessions get its mark.
func marked(config *tls.Config, mark []byte) *tls.Config {
	return adjusted(config, func(c *tls.Config, _ *tls.ClientHelloInfo) {
		wrap := c.WrapSession
		c.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
			session.Extra = append(session.Extra, mark)
			return wrap(state, session)
		}
	})
}

// withControlName has a client that sends no SNI on a further connection get the certificate
// that it had on the control connection.
func (d *dataService) withControlName(ctx context.Context) context.Context {
	name := d.conn.Outcome().ServerName
	if state, ok := d.conn.TLSConnectionState(); ok && state.ServerName != "" {
		name = state.ServerName
	}
	return context.WithValue(ctx, requestedNameKey{}, name)
}

// clientTLS begins TLS on a further connection, as the server, with the configuration of the
// control connection.
func (d *dataService) clientTLS(conn net.Conn) *tls.Conn {
	control, _ := d.conn.TLSConnectionState()
	config := adjusted(marked(d.conn.config.TLS, d.conn.mark), func(c *tls.Config, hello *tls.ClientHelloInfo) {
		if len(c.NextProtos) > 0 {
			c.NextProtos = slices.Concat(c.NextProtos, d.conn.proto.DataALPN)
		}
		c.UnwrapSession = ownSessions(c.UnwrapSession, d.conn.mark)
		c.VerifyConnection = d.verifyClient(c.VerifyConnection, control.PeerCertificates)
		c.SessionTicketsDisabled = c.SessionTicketsDisabled || resumesNothing(hello)
	})
	return tls.Server(conn, config)
}

// ownSessions resumes the sessions of one control connection only: a client that resumes one
// shows that it is the client of that. Some have one memory of sessions for all connections to
// a server; those of others are not resumed.
func ownSessions(unwrap func([]byte, tls.ConnectionState) (*tls.SessionState, error), mark []byte) func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
	return func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := unwrap(ticket, state)
		if err != nil || session == nil {
			return nil, err
		}
		if !slices.ContainsFunc(session.Extra, func(extra []byte) bool { return bytes.Equal(extra, mark) }) {
			return nil, nil
		}
		return session, nil
	}
}

// verifyClient demands the client's certificate of the control connection, if there was one,
// and its session, if the configuration wants that.
func (d *dataService) verifyClient(verify func(tls.ConnectionState) error, control []*x509.Certificate) func(tls.ConnectionState) error {
	required := d.options.Get(dialogue.DataResumptionOption) == "required"
	return func(state tls.ConnectionState) error {
		switch {
		case required && !state.DidResume:
			return errNoSession
		case len(control) > 0 && (len(state.PeerCertificates) == 0 || !state.PeerCertificates[0].Equal(control[0])):
			return errForeignCertificate
		case verify == nil:
			return nil
		}
		return verify(state)
	}
}

// extensionPSK is how a client asks for a session of TLS 1.3 to be resumed (RFC 8446 section
// 4.2.11).
const extensionPSK = 41

// resumesNothing reports whether a client of TLS 1.3 resumes no session. It is given none: it
// might never read it, and closing a connection with unread octets would reset it, and take
// away what has been sent. In TLS 1.2 a session is given within the handshake.
func resumesNothing(hello *tls.ClientHelloInfo) bool {
	return slices.Contains(hello.SupportedVersions, tls.VersionTLS13) && !slices.Contains(hello.Extensions, extensionPSK)
}

// backendTLS begins TLS on a further connection with an upgraded backend, as the client. It
// resumes the session of the control connection, as many servers demand.
func (d *dataService) backendTLS(conn net.Conn) *tls.Conn {
	config, err := d.up.tlsConfig()
	if err != nil {
		config = new(tls.Config) // which fails for want of a name; the control connection had one
	}
	config.NextProtos = nil
	return tls.Client(conn, config)
}

// A sessionCache has the TLS session of one control connection, which its further connections
// resume. Who is reached is known, so it has no use for keys.
type sessionCache struct {
	mu      sync.Mutex
	session *tls.ClientSessionState
}

// Get implements tls.ClientSessionCache.
func (c *sessionCache) Get(string) (*tls.ClientSessionState, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.session != nil
}

// Put implements tls.ClientSessionCache.
func (c *sessionCache) Put(_ string, session *tls.ClientSessionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = session
}

// A dataTransport is what crypto/tls reads. An end that no close_notify has announced is an
// error, since what has been read may not be everything.
type dataTransport struct{ net.Conn }

// Read implements io.Reader.
func (t dataTransport) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	if n == 0 && errors.Is(err, io.EOF) {
		return 0, ErrTruncated
	}
	return n, err
}

// A securedConn is a further connection inside TLS, with the one below.
type securedConn struct {
	*tls.Conn
	below closeWriter
}

// CloseWrite ends our half: with close_notify, then below.
func (c securedConn) CloseWrite() error {
	return errors.Join(c.Conn.CloseWrite(), c.below.CloseWrite())
}

// reset ends a connection at once, so that what has arrived cannot be taken for everything.
func reset(conn closeWriter) error {
	switch c := conn.(type) {
	case *net.TCPConn:
		_ = c.SetLinger(0)
	case interface{ Abort(why error) error }:
		_ = c.Abort(io.ErrUnexpectedEOF)
	}
	return conn.Close()
}
