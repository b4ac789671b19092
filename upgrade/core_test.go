package upgrade

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// inBubble runs a test where time passes only when everybody waits.
func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// ownDeadlines are those that a next handler may set for reading, in a session that is
// over, or is not, ten seconds from now.
var ownDeadlines = map[string]func(next net.Conn) error{
	"none":    func(net.Conn) error { return nil },
	"later":   func(next net.Conn) error { return next.SetReadDeadline(time.Now().Add(time.Hour)) },
	"both":    func(next net.Conn) error { return next.SetDeadline(time.Now().Add(time.Hour)) },
	"cleared": func(next net.Conn) error { return next.SetReadDeadline(time.Time{}) },
	"moved": func(next net.Conn) error {
		return errors.Join(next.SetReadDeadline(time.Now().Add(time.Second)), next.SetReadDeadline(time.Time{}))
	},
}

// No deadline of the next handler gives a client more time in plaintext than it has.
func TestRelayedClientHasNoMoreTimeThanItsOwn(t *testing.T) {
	for name, set := range ownDeadlines {
		inBubble(t, name, func(t *testing.T) {
			s := relayedSession(t, Config{NegotiationTimeout: 10 * time.Second})
			defer s.end()
			client, backend := hear(s.client), hear(s.next)
			require.NoError(t, set(s.next))
			tell(t, s.client, "PING\n")
			require.Equal(t, "PING\n", backend.news())
			time.Sleep(9 * time.Second)
			tell(t, s.client, "PING\n")
			require.Equal(t, "PING\n", backend.news())
			time.Sleep(2 * time.Second)
			_, clientEnd := client.total()
			_, backendEnd := backend.total()
			require.Error(t, clientEnd, "the client is not let go on")
			require.Error(t, backendEnd, "the backend is not kept waiting")
			require.ErrorIs(t, s.why(), ErrTimeout)
		})
	}
}

// Its own deadline is for the next handler, and ends nothing, whether the client may
// speak already or is held until the backend has greeted.
func TestDeadlineOfTheNextHandlerEndsNothing(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T) *coreSession{
		"relayed": func(t *testing.T) *coreSession {
			return relayedSession(t, Config{NegotiationTimeout: 10 * time.Second})
		},
		"held": func(t *testing.T) *coreSession {
			return upgradedSession(t, SMTP, Config{NegotiationTimeout: 10 * time.Second})
		},
	} {
		inBubble(t, name, func(t *testing.T) {
			s := begin(t)
			defer s.end()
			for range 2 {
				require.NoError(t, s.next.SetReadDeadline(time.Now().Add(time.Second)))
				_, err := s.next.Read(make([]byte, 1))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			}
			require.NoError(t, s.why())
			require.NoError(t, s.next.SetReadDeadline(time.Time{}))
			client, backend := hear(s.client), hear(s.next)
			tell(t, s.next, "220 backend\r\n")
			client.news()
			tell(t, s.client, "NOOP\r\n")
			require.Equal(t, "NOOP\r\n", backend.news())
			tell(t, s.next, "250 ok\r\n")
			require.Equal(t, "250 ok\r\n", client.news())
		})
	}
}

// The limit of the plaintext phase is over with it, whatever deadlines are set.
func TestUpgradedRelayHasNoLimit(t *testing.T) {
	for name, set := range ownDeadlines {
		inBubble(t, name, func(t *testing.T) {
			s := relayedSession(t, Config{NegotiationTimeout: 10 * time.Second})
			defer s.end()
			backend := hear(s.next)
			tell(t, s.client, "STARTTLS\n")
			s.startTLS(t)
			require.NoError(t, set(s.next))
			time.Sleep(30 * time.Second)
			tell(t, s.client, "PING\n")
			require.Equal(t, "PING\n", backend.news())
			_, err := backend.total()
			require.NoError(t, err)
		})
	}
}

// beginnings are how conversations begin behind the upgrade: what the backend greets
// with, the client's first words, and the answer to them.
var beginnings = map[*Protocol]struct{ greeting, ask, answer string }{
	SMTP:     {"220 backend ESMTP\r\n", "NOOP\r\n", "250 ok\r\n"},
	LMTP:     {"220 backend LMTP\r\n", "NOOP\r\n", "250 ok\r\n"},
	IMAP:     {"* OK hello\r\n", "a NOOP\r\n", "a OK done\r\n"},
	POP3:     {"+OK hello\r\n", "NOOP\r\n", "+OK done\r\n"},
	Sieve:    {"OK hello\r\n", "NOOP\r\n", "OK done\r\n"},
	LDAP:     {"", ldapHello, "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"},
	Postgres: {"", postgresHello, "R\x00\x00\x00\x08\x00\x00\x00\x00"},
	XMPP:     {"", xmppOpening, xmppOpening},
}

const xmppOpening = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' " +
	"xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"

// A client that has heard the backend is told nothing in its name when the next
// handler fails; one that has heard nothing is told that there is no backend.
func TestFailureIsToldOnlyForASilentBackend(t *testing.T) {
	for p, say := range beginnings {
		inBubble(t, p.Name+" has spoken", func(t *testing.T) {
			s := upgradedSession(t, p, Config{Hostname: testHost})
			defer s.end()
			client, backend := hear(s.client), hear(s.next)
			tell(t, s.next, say.greeting)
			tell(t, s.client, say.ask)
			require.Equal(t, say.ask, backend.news())
			tell(t, s.next, say.answer)
			heard := client.news()
			require.True(t, strings.HasSuffix(heard, say.answer), "%q", heard)
			s.handlerReturned(net.ErrClosed)
			require.Empty(t, client.news(), "what was said is not for us to go on with")
		})
		inBubble(t, p.Name+" is silent", func(t *testing.T) {
			s := upgradedSession(t, p, Config{Hostname: testHost})
			defer s.end()
			client := hear(s.client)
			s.handlerReturned(net.ErrClosed)
			require.NotEmpty(t, client.news())
			_, err := client.total()
			require.Equal(t, io.EOF, err)
		})
	}
}

// Every client here has introduced itself before it asked for TLS, and nothing of it
// crosses: the backend's first octet is the client's first one over TLS.
func TestNothingSaidInPlaintextCrosses(t *testing.T) {
	for p, say := range beginnings {
		inBubble(t, p.Name, func(t *testing.T) {
			s := upgradedSession(t, p, Config{Hostname: testHost})
			defer s.end()
			backend := hear(s.next)
			tell(t, s.next, say.greeting)
			require.Empty(t, backend.news())
			tell(t, s.client, say.ask)
			require.Equal(t, say.ask, backend.news())
		})
	}
}

// A client that stays in plaintext has been answered by us, so that the backend has to
// be told.
func TestIntroductionOfACleartextClientCrosses(t *testing.T) {
	for p, hello := range map[*Protocol]string{SMTP: "EHLO client.example\r\n", LMTP: "LHLO client.example\r\n"} {
		inBubble(t, p.Name, func(t *testing.T) {
			s := cleartextSession(t, p, hello+"MAIL FROM:<>\r\n")
			defer s.end()
			backend := hear(s.next)
			require.Empty(t, backend.news())
			tell(t, s.next, "220 backend\r\n")
			require.Equal(t, hello, backend.news())
			tell(t, s.next, "250 backend\r\n")
			require.Equal(t, "MAIL FROM:<>\r\n", backend.news())
		})
	}
}

// Over TLS a stream begins anew: what is said in it needs a header of its own, also
// where we have had one in plaintext.
func TestStreamOverTLSHasItsOwnHeader(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		s := upgradedSession(t, XMPP, Config{Hostname: testHost})
		defer s.end()
		client := hear(s.client)
		s.handlerReturned(net.ErrClosed)
		heard := client.news()
		require.True(t, strings.HasPrefix(heard, "<?xml version='1.0'?><stream:stream "), "%q", heard)
		require.Contains(t, heard, "<remote-connection-failed ")
	})
}

// The name that a client asks for reaches certificate selection only if it can be one,
// and the name that it gives itself reaches a log only if it can be read there.
func TestNamesOfClients(t *testing.T) {
	for name, test := range map[string]struct{ said, want string }{
		"plain":               {"chat.example.com", "chat.example.com"},
		"as long as can be":   {strings.Repeat("a", 255), strings.Repeat("a", 255)},
		"too long":            {strings.Repeat("a", 256), ""},
		"a line end":          {"chat&#10;.example.com", ""},
		"the last control":    {"chat&#127;.example.com", ""},
		"a blank is printed":  {"chat example.com", "chat example.com"},
		"nothing to speak of": {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			hello := "<?xml version='1.0'?><stream:stream to='" + test.said + "' version='1.0' " +
				"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
			asked := nameAskedFor(t, XMPP, hello, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
			require.Equal(t, test.want, asked.server)
			require.Equal(t, test.want, asked.certificate)
		})
	}
	for said, want := range map[string]string{
		"client.example": "client.example", strings.Repeat("a", 255): strings.Repeat("a", 255),
		strings.Repeat("a", 256): "", "client\x1b[2J": "", "client\x7f": "",
	} {
		asked := nameAskedFor(t, SMTP, "EHLO "+said+"\r\n", "EHLO\r\nSTARTTLS\r\n")
		require.Equal(t, want, asked.hello, "%q", said)
	}
}

// A client that is refused in the middle of a long speech has all of it taken from it:
// what is left unread would have the connection reset, and our words with it.
func TestRefusedClientIsHeardOut(t *testing.T) {
	for p, say := range map[*Protocol]string{
		SMTP: "STARTTLS\r\n", POP3: "STLS\r\n", IMAP: "a STARTTLS\r\n",
	} {
		inBubble(t, p.Name, func(t *testing.T) {
			raw, client := memPair()
			raw.in.most = 16 << 10
			tell(t, client, say+strings.Repeat("x", 512<<10))
			require.NoError(t, client.CloseWrite())
			require.ErrorIs(t, refused(raw, p, Config{Hostname: testHost}), ErrPipelined)
			require.Zero(t, raw.in.unread())
			words, err := io.ReadAll(client)
			require.NoError(t, err)
			require.NotEmpty(t, words)
		})
	}
}

// One that never stops is not listened to for ever.
func TestRefusedClientIsNotHeardForEver(t *testing.T) {
	raw := &endless{say: []byte("STARTTLS\r\n" + strings.Repeat("x", 4096))}
	require.ErrorIs(t, refused(raw, SMTP, Config{}), ErrPipelined)
	require.Less(t, raw.said, 16<<20)
}

// endless is a client that says the same again and again, and never waits.
type endless struct {
	memConn
	say  []byte
	said int
}

func (c *endless) Read(p []byte) (int, error) {
	c.said += len(c.say)
	return copy(p, c.say), nil
}

func (*endless) Write(p []byte) (int, error)     { return len(p), nil }
func (*endless) CloseWrite() error               { return nil }
func (*endless) SetDeadline(time.Time) error     { return nil }
func (*endless) SetReadDeadline(time.Time) error { return nil }

// clientNames are the names that a negotiation came to know.
type clientNames struct{ hello, server, certificate string }

// nameAskedFor has a client say its lines and begin TLS, far enough for the choice of
// a certificate.
func nameAskedFor(t *testing.T, p *Protocol, said ...string) (names clientNames) {
	t.Helper()
	raw, client := memPair()
	done := make(chan struct{})
	config, _ := coreTLS()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names.certificate = RequestedName(hello.Context())
		return nil, nil
	}
	_, clientTLS := coreTLS()
	go func() {
		defer close(done)
		_, _ = io.WriteString(client, strings.Join(said, ""))
		if readUntil(client, goAheads[p]) == nil {
			_ = tls.Client(client, clientTLS).Handshake()
		}
		_ = client.Close()
	}()
	names.hello, names.server = acceptNames(t, raw, p, config)
	<-done
	return names
}

// goAheads end the plaintext phase.
var goAheads = map[*Protocol]string{XMPP: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", SMTP: "220 2.0.0 Ready to start TLS\r\n"}

func readUntil(r io.Reader, end string) error {
	var got []byte
	for one := make([]byte, 1); !bytes.HasSuffix(got, []byte(end)); {
		if _, err := io.ReadFull(r, one); err != nil {
			return err
		}
		got = append(got, one...)
	}
	return nil
}
