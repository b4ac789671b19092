package bench

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A duplex is a connection that can be ended in one direction.
type duplex interface {
	net.Conn
	CloseWrite() error
}

// join plays the server, up to the end of the handshake, and returns what the next handler
// is given.
func join(raw net.Conn, proto *upgrade.Protocol, config *upgrade.Config) (duplex, error) {
	return upgrade.Join(context.Background(), raw, proto, config)
}

// An opening is how a session of a protocol begins.
type opening struct {
	name  string // of the protocol; none: TLS from the beginning
	plain []turn // the client's, up to the upgrade

	greeting, ask, answer string // behind it
}

// A turn is what the client says, and what it then waits for.
type turn struct{ say, want string }

var openings = []opening{
	{name: "", ask: "NOOP\r\n", answer: "250 ok\r\n"},
	{"imap", []turn{{"", "* OK"}, {"a STARTTLS\r\n", "a OK"}}, "* OK hello\r\n", "a NOOP\r\n", "a OK done\r\n"},
	{"ldap", []turn{{"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", "\x0a\x01\x00"}}, "", ldapBind, ldapBound},
	{"line", []turn{{"STARTTLS\n", ""}}, "", "PING\n", "PONG\n"},
	{"lmtp", []turn{{"", "220 "}, {"LHLO c.example\r\n", "250 "}, {"STARTTLS\r\n", "220 "}}, "220 hello\r\n", "NOOP\r\n", "250 ok\r\n"},
	{"pop3", []turn{{"", "+OK"}, {"STLS\r\n", "+OK"}}, "+OK hello\r\n", "NOOP\r\n", "+OK done\r\n"},
	{"postgres", []turn{{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"}}, "", "\x00\x00\x00\x14\x00\x03\x00\x00user\x00alice\x00\x00", "R\x00\x00\x00\x08\x00\x00\x00\x00"},
	{"sieve", []turn{{"", "OK "}, {"STARTTLS\r\n", "OK "}}, "OK hello\r\n", "NOOP\r\n", "OK done\r\n"},
	smtpOpening,
	{"xmpp", []turn{{xmppHeader, "</stream:features>"}, {"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed "}}, "", xmppHeader, xmppHeader},
}

var smtpOpening = opening{
	"smtp", []turn{{"", "220 "}, {"EHLO c.example\r\n", "250 "}, {"STARTTLS\r\n", "220 "}}, "220 hello\r\n", "NOOP\r\n", "250 ok\r\n",
}

const (
	ldapBind   = "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"
	ldapBound  = "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
	xmppHeader = "<?xml version='1.0'?><stream:stream to='" + serverName + "' version='1.0' xmlns='jabber:client' " +
		"xmlns:stream='http://etherx.jabber.org/streams'>"
)

// A session is a client and a backend, with a proxy of our making in between. Both are
// played by the benchmark.
type session struct {
	client  *tls.Conn
	backend net.Conn
	proxy   sync.WaitGroup
	err     error // of the proxy, once it has returned
}

// secrets are the two sides' configurations: TLS 1.3 with ECDSA P-256.
type secrets struct{ server, client *tls.Config }

func newSecrets(b *testing.B) *secrets {
	b.Helper()
	cert, _ := newCertificate(b)
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	require.NoError(b, err)
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &secrets{
		&tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13},
		&tls.Config{RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS13},
	}
}

// open begins a session, up to its first command and the answer.
func (k *secrets) open(b *testing.B, o opening) *session {
	raw, rawClient := memPair()
	near, far := memPair()
	s := &session{client: tls.Client(rawClient, k.client), backend: far}
	s.proxy.Go(func() {
		if s.err = k.serve(raw, near, o.name); s.err != nil {
			_, _ = raw.Close(), near.Close()
		}
	})
	for _, turn := range o.plain {
		s.must(b, say(rawClient, turn.say))
		s.must(b, await(rawClient, turn.want))
	}
	s.must(b, s.client.Handshake())
	s.must(b, say(far, o.greeting))
	s.command(b, o.ask, o.answer)
	return s
}

// serve is the proxy.
func (k *secrets) serve(raw duplex, upstream duplex, name string) error {
	next, err := k.upgrade(raw, name)
	if err != nil {
		return err
	}
	var down sync.WaitGroup
	down.Go(func() { pipe(next, upstream) })
	pipe(upstream, next)
	down.Wait()
	return nil
}

func pipe(to, from duplex) {
	_, _ = io.Copy(to, from)
	_ = to.CloseWrite()
}

func (k *secrets) upgrade(raw net.Conn, name string) (duplex, error) {
	if name == "" {
		conn := tls.Server(raw, k.server)
		return conn, conn.Handshake()
	}
	proto, err := upgrade.Lookup(name)
	if err != nil {
		return nil, err
	}
	return join(raw, proto, &upgrade.Config{TLS: k.server, Hostname: serverName})
}

// command is what the client says to the backend, and what that answers.
func (s *session) command(b *testing.B, ask, answer string) {
	s.must(b, say(s.client, ask))
	s.must(b, await(s.backend, ask))
	s.must(b, say(s.backend, answer))
	s.must(b, await(s.client, answer))
}

// close ends both sides, and waits for the proxy.
func (s *session) close(b *testing.B) {
	_ = s.client.Close()
	_ = s.backend.Close()
	s.proxy.Wait()
	require.NoError(b, s.err)
}

// must asks the proxy what is wrong, where something is.
func (s *session) must(b *testing.B, err error) {
	if err != nil {
		_ = s.backend.Close()
		_ = s.client.NetConn().Close()
		s.proxy.Wait()
		require.NoError(b, fmt.Errorf("%w; proxy: %w", err, s.err))
	}
}

func say(to io.Writer, text string) error {
	_, err := io.WriteString(to, text)
	return err
}

// await reads until something has arrived. Whatever comes in the same write counts to
// it, and nothing comes behind that unasked.
func await(from io.Reader, want string) error {
	var got []byte
	chunk := make([]byte, 4096)
	for !bytes.Contains(got, []byte(want)) {
		n, err := from.Read(chunk)
		got = append(got, chunk[:n]...)
		if err != nil {
			return fmt.Errorf("%w: behind %q, waiting for %q", err, got, want)
		}
	}
	return nil
}
