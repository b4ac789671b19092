package integration_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// rounds go back and forth until nobody can take anything for a first message.
func rounds(t testing.TB, client, up net.Conn) {
	t.Helper()
	for _, text := range []string{"Hello, upstream", "a", strings.Repeat("0123456789abcdef", 1<<12), "\x00\r\n\xff"} {
		go func() { _, _ = client.Write([]byte(text)) }()
		requireReads(t, up, text)
		go func() { _, _ = up.Write([]byte(text)) }()
		requireReads(t, client, text)
	}
}

// In every protocol a client in plaintext gets to a server that it could not reach, and
// whose name TLS has verified.
func TestUpstreamIsJoined(t *testing.T) {
	a := newAuthority(t)
	joints := jointPerProtocol(t, a)
	serveJoints(t, joints...)
	for _, j := range joints {
		t.Run(j.protocol(), func(t *testing.T) {
			client, up := j.connect(t)
			state, ok := up.TLSConnectionState()
			require.True(t, ok)
			require.Equal(t, upstreamName, state.ServerName)
			rounds(t, client, up)
			require.NoError(t, client.CloseWrite())
			requireRest(t, up, "")
			require.NoError(t, up.CloseWrite())
			requireRest(t, client, "")
			require.EqualValues(t, 1, j.up.dials.Load())
		})
	}
}

// Sessions of TLS with an upstream are resumed, in each protocol. FTP is left out: its control
// connections begin one each, which is that of their data connections alone.
func TestUpstreamSessionsResume(t *testing.T) {
	joints := jointPerProtocol(t, newAuthority(t))
	serveJoints(t, joints...)
	for _, j := range joints {
		p, err := upgrade.Lookup(j.protocol())
		require.NoError(t, err)
		for _, resumed := range []bool{false, !p.DataConnections, !p.DataConnections} {
			client, up := j.connect(t)
			rounds(t, client, up)
			state, ok := up.TLSConnectionState()
			require.True(t, ok, j.protocol())
			require.Equal(t, resumed, state.DidResume, j.protocol())
			require.NoError(t, client.Close())
			require.NoError(t, up.Close())
		}
	}
}

// What a client says too early waits for TLS.
func TestUpstreamHearsNothingBeforeTLS(t *testing.T) {
	a := newAuthority(t)
	const early = "early words that no server would understand"
	var joints []*joint
	for _, protocol := range []string{"smtp", "postgres", "xmpp"} {
		j := newJoint(t, protocol, a)
		joints = append(joints, j)
		j.up = makeUpgrader(t, protocol, a.server(t, upstreamName))
	}
	serveJoints(t, joints...)
	for _, j := range joints {
		client := j.dial(t)
		writes(t, client, early)
		time.Sleep(settle)
		go j.up.accept()
		up := j.up.next(t) // which would not have upgraded with more before it
		requireReads(t, up, early)
		require.NoError(t, client.Close())
	}
}

// Behind whatever terminates TLS, the upstream is the one whose name the client has
// asked for, and its certificate must be for that name.
func TestUpstreamServerNameFromDownstream(t *testing.T) {
	a := newAuthority(t)
	names := []string{"a.example.com", "b.example.com"}
	s := newSite(t, "smtp")
	s.names = append([]string{"c.example.com"}, names...)
	config := a.server(t, names[0])
	config.Certificates = append(config.Certificates, a.server(t, names[1]).Certificates...)
	up := newUpgrader(t, "smtp", config, servesInside)
	j := &joint{up: up, lines: []string{"tls_server_name {l4.tls.server_name}", "tls_trust_pool file " + a.file}}
	s.backend, s.after = &backend{ln: up.ln}, j.handler()
	implicit := &joint{address: freeAddress(t), up: up, lines: j.lines, match: "tls", before: "tls"}
	c := startCaddy(t, s.String()+implicit.String())
	c.awaitCertificates(s.names...)
	for _, name := range names {
		s.requireUpgraded(t, c.trust(), step{SNI: name})
		require.Equal(t, name, serverNameOf(up.next(t)))
		client := implicit.dialTLS(t, c.trust(), name)
		requireReads(t, client, "220 "+name+" ESMTP\r\n")
		require.Equal(t, name, serverNameOf(up.next(t)))
	}
	const refusal = "421 4.7.5 c.example.com Upstream certificate could not be verified\r\n"
	requireRest(t, implicit.dialTLS(t, c.trust(), "c.example.com"), refusal)
	p, err := s.dial(c.trust())
	require.NoError(t, err)
	defer func() { _ = p.raw.Close() }()
	require.NoError(t, p.run(append(s.talk.ask(), step{StartTLS: true, SNI: "c.example.com"})))
	writes(t, p.tls, "EHLO inside.example\r\n")
	requireRest(t, p.tls, refusal)
}

func serverNameOf(conn *secured) string {
	state, _ := conn.TLSConnectionState()
	return state.ServerName
}

// dialTLS connects a client that begins with TLS. To it an end without close_notify
// is an error.
func (j *joint) dialTLS(t testing.TB, trust *tls.Config, name string) *tls.Conn {
	t.Helper()
	config := trust.Clone()
	config.ServerName = name
	conn := tls.Client(newWire(j.dial(t)), config)
	require.NoError(t, conn.Handshake())
	return conn
}

// A name that turns out to be empty verifies nothing, so nobody is dialled.
func TestUpstreamEmptyServerNameIsRefused(t *testing.T) {
	a := newAuthority(t)
	joints := jointPerProtocol(t, a)
	for _, j := range joints {
		j.lines[0] = "tls_server_name {l4.tls.server_name}"
	}
	c := serveJoints(t, joints...)
	for _, j := range joints {
		client := j.ask(t)
		j.requireWords(t, client, "localhost", "Upstream not available")
		require.Zero(t, j.up.dials.Load())
		require.NoError(t, client.Close())
		require.Eventually(t, func() bool {
			return strings.Contains(c.loggedFor(client), "is empty for this connection")
		}, patience, 20*time.Millisecond, j.protocol())
	}
}

// A client certificate is shown to an upstream that asks for one.
func TestUpstreamClientCertificate(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	var joints []*joint
	for _, by := range []*authority{a, other, nil} {
		j := newJoint(t, "smtp", a, func(u *upgrader) {
			u.config.TLS.ClientAuth, u.config.TLS.ClientCAs = tls.RequireAndVerifyClientCert, a.pool()
			u.config.TLS.MaxVersion = tls.VersionTLS12 // where the client waits for the verdict
		})
		if by != nil {
			cert, key := by.client(t, "proxy")
			j.lines = append(j.lines, "tls_client_auth "+cert+" "+key)
		}
		joints = append(joints, j)
	}
	serveJoints(t, joints...)
	_, up := joints[0].connect(t)
	state, _ := up.TLSConnectionState()
	require.Equal(t, "proxy", state.PeerCertificates[0].Subject.CommonName)
	for _, j := range joints[1:] {
		requireRest(t, j.dial(t), "421 4.7.5 "+upstreamName+" TLS with upstream failed\r\n")
	}
}

// A client certificate may also be one that Caddy manages.
func TestUpstreamManagedClientCertificate(t *testing.T) {
	const name = "app.example.com"
	a := newAuthority(t)
	j := newJoint(t, "smtp", a, func(u *upgrader) { u.config.TLS.ClientAuth = tls.RequireAnyClientCert })
	j.lines = append(j.lines, "tls_client_auth "+name)
	serveJoints(t, j).awaitCertificates(name)
	_, up := j.connect(t)
	state, _ := up.TLSConnectionState()
	require.Equal(t, []string{name}, state.PeerCertificates[0].DNSNames)
}

// newScripted makes a joint whose upstream plays the scripts of upstream_refusal_test.go.
func newScripted(t testing.TB, protocol, address string, lines ...string) *joint {
	t.Helper()
	proto, err := upgrade.Lookup(protocol)
	require.NoError(t, err)
	j := &joint{address: freeAddress(t), up: &upgrader{proto: proto, talk: conversationOf(t, protocol)}, proxy: address}
	j.lines = append([]string{"tls_server_name example.org"}, lines...)
	if protocol == "line" {
		j.lines = append(j.lines, "reply GO")
	}
	return j
}

const inClear = "upstream does not offer TLS, staying in plaintext"
