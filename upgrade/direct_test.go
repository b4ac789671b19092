package upgrade

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// acceptDirect has a client begin with TLS, and returns what Join says to that.
func acceptDirect(t *testing.T, p *Protocol, client *tls.Config) (*tls.Conn, *Joined, error) {
	rawServer, rawClient := testkit.TCPPair(t)
	inside := tls.Client(rawClient, client)
	handshake := make(chan error, 1)
	go func() { handshake <- inside.Handshake() }()
	serverTLS, _ := testTLS()
	serverTLS = serverTLS.Clone()
	serverTLS.NextProtos = p.ALPN
	joined, err := Join(context.Background(), rawServer, p, &Config{
		TLS: serverTLS, Hostname: testHost, ImplicitTLS: true, ImplicitTLSDelay: 10 * time.Second,
	})
	if err != nil {
		_ = rawServer.Close()
		require.ErrorContains(t, <-handshake, "no application protocol")
		return nil, nil, err
	}
	require.NoError(t, <-handshake)
	require.NoError(t, rawClient.SetDeadline(time.Now().Add(20*time.Second)))
	return inside, joined, nil
}

// A client that begins with TLS has the backend's greeting over it, but neither its
// offer of the upgrade nor the upgrade.
func TestDirectClientIsJoined(t *testing.T) {
	_, clientTLS := testTLS()
	client, x, err := acceptDirect(t, SMTP, clientTLS)
	require.NoError(t, err)
	require.True(t, x.Conn().Outcome().ImplicitTLS)
	backend := bufio.NewReader(x)
	lines := bufio.NewReader(client)
	expect := func(r *bufio.Reader, want string) {
		t.Helper()
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	io.WriteString(x, "220 backend ESMTP\r\n")
	expect(lines, "220 backend ESMTP\r\n")
	io.WriteString(client, "EHLO client.example\r\n")
	expect(backend, "EHLO client.example\r\n")
	io.WriteString(x, "250-backend\r\n250 STARTTLS\r\n")
	expect(lines, "250 backend\r\n")
	io.WriteString(client, "STARTTLS\r\nNOOP\r\n")
	expect(backend, "NOOP\r\n")
	expect(lines, "503 5.5.1 TLS already started\r\n")
}

// Where ALPN is required of a client that begins with TLS, one without it fails at the
// handshake and is told why; one with it is not disturbed by having been looked at.
func TestDirectClientNeedsALPN(t *testing.T) {
	_, clientTLS := testTLS()
	for _, test := range []struct {
		alpn []string
		want error
	}{
		{[]string{"postgresql"}, nil},
		{[]string{"http/1.1"}, dialogue.ErrHandshake},
		{nil, ErrNoALPN},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := clientTLS.Clone()
			config.NextProtos, config.MaxVersion = test.alpn, version
			client, x, err := acceptDirect(t, Postgres, config)
			require.ErrorIs(t, err, test.want)
			if test.want == nil {
				io.WriteString(x, "hello")
				got := make([]byte, 5)
				_, err = io.ReadFull(client, got)
				require.NoError(t, err)
				require.Equal(t, "hello", string(got))
			}
		}
	}
}

// A client that begins with TLS and has no backend is told so in place of a greeting.
func TestDirectClientWithoutBackend(t *testing.T) {
	for p, want := range map[*Protocol]string{
		SMTP:  "421 4.3.2 mail.example.com Service not available, closing transmission channel\r\n",
		LMTP:  "421 4.3.2 mail.example.com Service not available, closing transmission channel\r\n",
		IMAP:  "* BYE [UNAVAILABLE] Backend not available\r\n",
		POP3:  "-ERR [SYS/TEMP] Backend not available\r\n",
		Sieve: "BYE (TRYLATER) \"Backend not available\"\r\n",
		LDAP:  "\x30\x24\x02\x01\x00\x78\x1f\x0a\x01\x34\x04\x00\x04\x00\x8a\x161.3.6.1.4.1.1466.20036",
		XMPP: "<?xml version='1.0'?><stream:stream from='mail.example.com' id='0123456789' xml:lang='en' " +
			"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:error>" +
			"<remote-connection-failed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>",
		Postgres: postgresUnavailableTo("backend not available"),
	} {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newScriptedClient(0)
				x := joinDirect(client, p)
				client.say(nil, true)
				x.Returned(net.ErrClosed)
				got, end := client.take()
				require.Equal(t, want, withoutStreamID(got))
				require.True(t, end)
			})
		})
	}
}

// joinDirect joins a client that began with TLS, with nothing in the way of the bytes.
func joinDirect(client net.Conn, p *Protocol) *Joined {
	return JoinAs(client, p, &Config{Hostname: testHost}, dialogue.Situation{ImplicitTLS: true})
}
