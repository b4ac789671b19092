package integration_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A backend records who dials it and every byte that arrives.
type backend struct {
	play func(net.Conn) error
	ln   net.Listener

	mu    sync.Mutex
	dials []*recording
	idle  *sync.Cond // some connection has ended
}

// A recording is one connection to the backend.
type recording struct {
	conn     net.Conn
	received []byte
	ended    bool
	err      error // what the script ran into
}

// newBackend starts one that plays a script, or else a plain server of its protocol.
func newBackend(t testing.TB, protocol string, script []step) *backend {
	t.Helper()
	if script == nil {
		return startBackend(t, serverOf(t, protocol))
	}
	return startBackend(t, func(conn net.Conn) error {
		err := newPeer(conn, nil).run(script)
		if err == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
		return err
	})
}

// startBackend starts one, until the end of the test.
func startBackend(t testing.TB, play func(net.Conn) error) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	b := &backend{play: play, ln: ln}
	b.idle = sync.NewCond(&b.mu)
	go b.accept()
	return b
}

func (b *backend) address() string { return b.ln.Addr().String() }

func (b *backend) accept() {
	for {
		conn, err := b.ln.Accept()
		if err != nil {
			return
		}
		r := &recording{conn: conn}
		b.mu.Lock()
		b.dials = append(b.dials, r)
		b.mu.Unlock()
		go b.serve(conn, r)
	}
}

func (b *backend) serve(conn net.Conn, r *recording) {
	defer func() { _ = conn.Close() }()
	err := b.play(&tappedConn{Conn: conn, backend: b, recording: r})
	b.mu.Lock()
	defer b.mu.Unlock()
	r.ended, r.err = true, err
	b.idle.Broadcast()
}

// tappedConn records what is read.
type tappedConn struct {
	net.Conn
	backend   *backend
	recording *recording
}

func (c *tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.backend.mu.Lock()
	defer c.backend.mu.Unlock()
	c.recording.received = append(c.recording.received, p[:n]...)
	return n, err
}

// hangUp ends the backend's half of all connections.
func (b *backend) hangUp() (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.dials {
		err = errors.Join(err, r.conn.(*net.TCPConn).CloseWrite())
	}
	return err
}

// dialled tells how many connections there have been.
func (b *backend) dialled() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.dials)
}

// received returns all that has arrived, connection after connection.
func (b *backend) received() (all []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.dials {
		all = append(all, r.received...)
	}
	return all
}

// await waits until all connections have ended, and tells what went wrong on them.
func (b *backend) await() error {
	timer := time.AfterFunc(patience, func() { _ = b.ln.Close(); b.idle.Broadcast() })
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		open, failed := 0, error(nil)
		for _, r := range b.dials {
			failed = errors.Join(failed, r.err)
			if !r.ended {
				open++
			}
		}
		switch {
		case open == 0:
			return failed
		case time.Now().After(deadline):
			return fmt.Errorf("%d connections to the backend are still open", open)
		}
		b.idle.Wait()
	}
}

// serverOf plays a backend without TLS of its own, or a lenient one where nothing in
// particular is wanted of it.
func serverOf(t testing.TB, protocol string) func(net.Conn) error {
	t.Helper()
	if serve, ok := servers[protocol]; ok {
		return serve
	}
	_, err := lenient.New(protocol)
	require.NoError(t, err, "%s needs a server to be tested with", protocol)
	return func(conn net.Conn) error { return serveLeniently(conn, protocol, true) }
}

// serveLeniently is a server that must not see what is not for a backend.
func serveLeniently(conn net.Conn, protocol string, greet bool, quirks ...lenient.Quirk) error {
	server, err := lenient.New(protocol, quirks...)
	if err != nil {
		return err
	}
	answer := server.Greeting()
	if !greet {
		answer = nil
	}
	for p := make([]byte, 4096); ; {
		if _, err := conn.Write(answer); err != nil {
			return nil
		}
		n, err := conn.Read(p)
		answer = server.Feed(p[:n])
		switch {
		case len(server.Forbidden()) > 0:
			return fmt.Errorf("not for a backend: %q", server.Forbidden())
		case err != nil:
			return nil
		}
	}
}

// serveInside serves a client behind the upgrade to TLS.
func serveInside(p *upgrade.Protocol, conn net.Conn) error {
	name := p.Name
	begin, ok := lineSessions[name]
	switch {
	case p.HearsClient && p.ServerFirst: // which has been greeted, and asks for TLS with its login
		return serveLeniently(conn, name, false, lenient.Bare)
	case p.Greeting == "" && servers[name] != nil:
		return servers[name](conn)
	case ok:
		return serveLines(conn, "", begin())
	}
	return serveLeniently(conn, name, p.Greeting == "")
}

// servers are those of which some test wants more than of a lenient one: they know what has
// to come before what.
var servers = map[string]func(net.Conn) error{
	"smtp":     func(c net.Conn) error { return serveLines(c, "220 backend.example ESMTP\r\n", lineSessions["smtp"]()) },
	"lmtp":     func(c net.Conn) error { return serveLines(c, "220 backend.example LMTP\r\n", lineSessions["lmtp"]()) },
	"imap":     func(c net.Conn) error { return serveLines(c, "* OK backend ready\r\n", lineSessions["imap"]()) },
	"pop3":     func(c net.Conn) error { return serveLines(c, "+OK backend ready\r\n", lineSessions["pop3"]()) },
	"sieve":    func(c net.Conn) error { return serveLines(c, sieveCapabilities, sieveAnswer) },
	"line":     func(c net.Conn) error { return serveLines(c, "READY\r\n", lineAnswer) },
	"connect":  func(c net.Conn) error { return serveLines(c, "", lineAnswer) },
	"xmpp":     serveXMPP,
	"ldap":     serveLDAP,
	"postgres": servePostgres,
}

const xmppFeatures = "<?xml version='1.0'?><stream:stream from='example.org' id='backend' xmlns='jabber:client' " +
	"xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:features>" +
	"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"

// serveXMPP answers stream headers, and refuses whatever else begins with a tag.
func serveXMPP(conn net.Conn) error {
	for r := bufio.NewReader(conn); ; {
		tag, err := r.ReadSlice('>')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) { // of what is too long for a tag
			return nil
		}
		answer := ""
		switch {
		case bytes.Contains(tag, []byte("<stream:stream")):
			answer = xmppFeatures
		case bytes.HasPrefix(tag, []byte("<starttls")):
			answer = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return nil
		}
	}
}
