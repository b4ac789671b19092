package integration_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// startProxy runs `caddy starttls-proxy`, until the end of the test.
func startProxy(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{instance: newInstance(t), ended: make(chan struct{})}
	p.start(t, append([]string{"starttls-proxy"}, args...)...)
	p.dir += "/caddy" // where Caddy keeps things if no storage is configured
	return p
}

// dialled connects as a client of the protocol as soon as there is a certificate.
func (p *process) dialled(t *testing.T, address string, proto *upgrade.Protocol) (conn *upgrade.Conn) {
	t.Helper()
	require.NoError(t, awaitListener(t, address).Close())
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		trust := p.trust()
		trust.ServerName = "localhost"
		var err error
		conn, err = upgrade.Dial(ctx, "tcp", address, proto, &upgrade.Config{TLS: trust})
		return err == nil
	}, patience, 50*time.Millisecond)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// The command takes clients, upgrades them with a certificate of Caddy's own, and passes on
// what they say; it ends as any Caddy does. Of the protocols, these are one in which the server
// speaks first, one in which the client does, and two that dial early.
func TestProxyCommand(t *testing.T) {
	for _, proto := range []*upgrade.Protocol{upgrade.SMTP, upgrade.LDAP, upgrade.MySQL, upgrade.Line} {
		t.Run(proto.Name, func(t *testing.T) {
			talk, backend := conversationOf(t, proto.Name), newBackend(t, proto.Name, nil)
			_, port, err := net.SplitHostPort(freeAddress(t))
			require.NoError(t, err)
			p := startProxy(t, proto.Name, "--from", "localhost:"+port, "--to", backend.address(), "--access-log")
			conn := p.dialled(t, "127.0.0.1:"+port, proto)
			state, ok := conn.TLSConnectionState()
			require.True(t, ok)
			require.Equal(t, []string{"localhost"}, state.PeerCertificates[0].DNSNames)
			_, err = io.WriteString(conn, talk.says())
			require.NoError(t, err)
			_, err = conn.Read(make([]byte, 1))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return len(backend.received()) > 0 }, patience, 10*time.Millisecond)
			require.NoError(t, conn.Close())
			stopping["SIGTERM"](t, p)
			p.requireEnd(t)
			require.Contains(t, p.output.String(), `"outcome":"upgraded"`)
		})
	}
}

// A client in plaintext reaches a server that demands TLS, and whose certificate verifies.
func TestProxyCommandUpstream(t *testing.T) {
	ca := newTestCA(t)
	server := serverWith(issue(t, "Mail", ca.root, nil))
	upgrader := listenAndServe(t, func(raw net.Conn) {
		conn, err := upgrade.Accept(context.Background(), raw, upgrade.Postgres, server)
		if err == nil {
			_, _ = io.Copy(conn, conn)
		}
	})
	for _, test := range []struct{ name, heard string }{{"mail.example.com", startup}, {"other.example.com", "E"}} {
		_, port, err := net.SplitHostPort(freeAddress(t))
		require.NoError(t, err)
		_ = startProxy(t, "postgres", "--from", "localhost:"+port, "--to", upgrader, "--plaintext",
			"--upstream-tls", "--upstream-server-name", test.name, "--upstream-ca", ca.file)
		client := awaitListener(t, "127.0.0.1:"+port)
		_, err = io.WriteString(client, startup)
		require.NoError(t, err)
		requireReads(t, client, test.heard)
	}
}

// TLS from the first byte is for clients of the same port, and of others.
func TestProxyCommandImplicitTLS(t *testing.T) {
	backend := newBackend(t, "imap", nil)
	_, port, err := net.SplitHostPort(freeAddress(t))
	require.NoError(t, err)
	_, implicit, err := net.SplitHostPort(freeAddress(t))
	require.NoError(t, err)
	p := startProxy(t, "imap", "--from", "localhost:"+port, "--from", "localhost:"+implicit, "--implicit-tls", "--to", backend.address(), "-v")
	for _, port := range []string{port, implicit} {
		_ = p.dialled(t, "127.0.0.1:"+port, upgrade.IMAP)
		trust := p.trust()
		trust.ServerName = "localhost"
		conn, err := tls.Dial("tcp", "127.0.0.1:"+port, trust)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		requireReads(t, conn, "* OK")
		require.NoError(t, conn.Close())
	}
	stopping["SIGTERM"](t, p)
	p.requireEnd(t)
	require.Contains(t, p.output.String(), `"level":"debug"`)
}

// What cannot start ends with a status that says so.
func TestProxyCommandDoesNotStart(t *testing.T) {
	taken := listenAndServe(t, saying(""))
	p := startProxy(t, "smtp", "--from", taken, "--to", "localhost:10587")
	select {
	case <-p.ended:
		require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
		require.Contains(t, p.output.String(), "address already in use")
	case <-time.After(patience):
		require.FailNow(t, "it runs")
	}
}
