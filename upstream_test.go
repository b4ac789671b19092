package l4starttls_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
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

// In every protocol a client in clear gets to a server that it could not reach, and
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
	require.NoError(t, p.run(append(s.conversation().ask(), step{StartTLS: true, SNI: "c.example.com"})))
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

// A dialled server is one whose connections are the test's.
type dialled struct {
	ln    net.Listener
	conns chan net.Conn
}

func newDialled(t testing.TB) *dialled {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	d := &dialled{ln, make(chan net.Conn, 100)}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			d.conns <- conn
		}
	}()
	return d
}

func (d *dialled) next(t testing.TB) net.Conn {
	t.Helper()
	select {
	case conn := <-d.conns:
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	case <-time.After(patience):
		require.FailNow(t, "upstream was not dialled")
		return nil
	}
}

// requireLeft has a server say and hear something, and waits for the client's end.
func requireLeft(t testing.TB, conn net.Conn, script []step) {
	t.Helper()
	require.NoError(t, newPeer(conn, nil).run(append(script[:len(script):len(script)], step{ExpectClose: true})))
	require.NoError(t, conn.Close())
}

// newScripted makes a joint whose upstream plays the scripts of upstream_refusal_test.go.
func newScripted(t testing.TB, protocol, address string, lines ...string) *joint {
	t.Helper()
	proto, err := upgrade.Lookup(protocol)
	require.NoError(t, err)
	j := &joint{address: freeAddress(t), up: &upgrader{proto: proto}, proxy: address}
	j.lines = append([]string{"tls_server_name example.org"}, lines...)
	if protocol == "line" {
		j.lines = append(j.lines, "reply GO")
	}
	return j
}

const inClear = "upstream does not offer TLS, going on in clear"

// With policy optional an upstream that does not offer the upgrade is dialled afresh,
// and the client has it as it is. The log says so.
func TestUpstreamOptionalGoesOnInClear(t *testing.T) {
	joints := map[*joint]*dialled{}
	var all []*joint
	for _, p := range upgrade.Protocols() {
		if p.Name == "line" {
			continue // nothing is offered there
		}
		d := newDialled(t)
		j := newScripted(t, p.Name, d.ln.Addr().String(), "policy optional")
		joints[j], all = d, append(all, j)
	}
	c := serveJoints(t, all...)
	for j, d := range joints {
		t.Run(j.protocol(), func(t *testing.T) {
			client := j.dial(t)
			requireLeft(t, d.next(t), upstreamScripts[j.protocol()].without)
			up := d.next(t)
			rounds(t, client, up)
			require.NoError(t, client.CloseWrite())
			requireRest(t, up, "")
			writes(t, up, "last words")
			require.NoError(t, up.Close())
			requireRest(t, client, "last words")
			logged := c.logged(inClear)
			require.Contains(t, logged, logEntry{
				Level: "warn", Logger: "layer4.handlers.starttls_upstream", Message: inClear,
				Remote: client.LocalAddr().String(), Protocol: j.protocol(),
			})
		})
	}
}

// refusalReasons are what a client reads about the refusals of upstream_refusal_test.go.
var refusalReasons = map[string]string{
	"without": "Upstream does not offer TLS", "refuses": "Upstream refused TLS",
	"leaves": "Upstream not available", "closes": "Upstream not available", "down": "Upstream not available",
	"silent": "Upstream timed out", "stuck": "Upstream timed out",
	"nonsense": "Upstream (timed out|refused TLS|violated the protocol before TLS)",
	"injects":  "Upstream violated the protocol before TLS",
}

// Any other failure is one under both policies, and the client gets words for it that
// are none of the upstream's.
func TestUpstreamRefusalsAreWorded(t *testing.T) {
	type refused struct {
		*joint
		refusal, policy string
		backend         *backend
		client          *net.TCPConn
	}
	var all []*refused
	var joints []*joint
	for _, p := range upgrade.Protocols() {
		for name, refusal := range refusals {
			for _, policy := range policiesOf(p.Name, name) {
				r := &refused{refusal: name, policy: policy}
				address := map[string]string{"down": freeAddress(t), "stuck": stuckServer(t)}[name]
				if refusal.script != nil {
					r.backend = newBackend(t, p.Name, refusal.script(upstreamScripts[p.Name]))
					address = r.backend.address()
				}
				r.joint = newScripted(t, p.Name, address, "policy "+policy, "negotiation_timeout 1s")
				all, joints = append(all, r), append(joints, r.joint)
			}
		}
	}
	c := serveJoints(t, joints...)
	for _, r := range all {
		r.client = r.ask(t) // they wait side by side
	}
	for _, r := range all {
		t.Run(strings.Join([]string{r.protocol(), r.refusal, r.policy}, " "), func(t *testing.T) {
			why, ok := refusalReasons[r.refusal]
			require.True(t, ok)
			if r.protocol() == "line" && r.refusal == "without" {
				why = refusalReasons["refuses"]
			}
			r.requireWords(t, r.client, "example.org", why)
			require.NoError(t, r.client.Close())
			if r.backend != nil {
				_ = r.backend.await()
				require.Equal(t, 1, r.backend.dialled())
			}
		})
	}
	require.Empty(t, c.logged(inClear))
}

// policiesOf are those under which a refusal is one.
func policiesOf(protocol, refusal string) []string {
	if refusal == "without" && protocol != "line" {
		return []string{"required"}
	}
	return []string{"required", "optional"}
}

// An upstream that fails at TLS is no reason for going on in clear.
func TestUpstreamOptionalDemandsGoodTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	for name, upstream := range map[string]struct {
		config *tls.Config
		why    string
	}{
		"signed by others": {other.server(t, upstreamName), "Upstream certificate could not be verified"},
		"another name":     {a.server(t, "elsewhere.example.com"), "Upstream certificate could not be verified"},
		"no certificate":   {new(tls.Config), "TLS with upstream failed"},
		"old TLS": {&tls.Config{
			Certificates: a.server(t, upstreamName).Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
		}, "TLS with upstream failed"},
	} {
		t.Run(name, func(t *testing.T) {
			joints := jointPerProtocol(t, a, func(u *upgrader) { u.config.TLS = upstream.config })
			for _, j := range joints {
				j.lines = append(j.lines, "policy optional")
			}
			c := serveJoints(t, joints...)
			for _, j := range joints {
				j.requireWords(t, j.ask(t), upstreamName, upstream.why)
				require.EqualValues(t, 1, j.up.dials.Load())
			}
			require.Empty(t, c.logged(inClear))
		})
	}
}

// neverAccepts returns the address of a server with no room for another connection,
// so that dialling it takes for ever.
func neverAccepts(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return address
		}
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// The time for the negotiation is also that for dialling, and the handshake has its
// own, by either of its names.
func TestUpstreamTimesOut(t *testing.T) {
	full := neverAccepts(t)
	var joints []*joint
	for _, p := range upgrade.Protocols() {
		script := upstreamScripts[p.Name]
		mute := newBackend(t, p.Name, append(script.asked[:len(script.asked):len(script.asked)], step{SendText: script.goAhead}))
		joints = append(joints,
			newScripted(t, p.Name, full, "negotiation_timeout 500ms"),
			newScripted(t, p.Name, mute.address(), "handshake_timeout 500ms"),
			newScripted(t, p.Name, mute.address(), "tls_timeout 500ms"),
		)
	}
	serveJoints(t, joints...)
	clients := make([]*net.TCPConn, len(joints))
	for i, j := range joints {
		clients[i] = j.ask(t)
		require.NoError(t, clients[i].SetDeadline(time.Now().Add(patience/2))) // sooner than by default
	}
	for i, j := range joints {
		j.requireWords(t, clients[i], "example.org", "Upstream timed out")
		require.NoError(t, clients[i].Close())
	}
}

// Behind the handler `proxy` retries as ever. The client waits as long as that goes on
// and the negotiation may take, and is told what has come of it.
func TestUpstreamRetries(t *testing.T) {
	a := newAuthority(t)
	var joints []*joint
	for _, proxy := range []string{
		"%s %s {\nlb_policy first\nfail_duration 1m\nlb_try_duration 10s\nlb_try_interval 50ms\n}",
		"%s {\nlb_try_duration 500ms\nlb_try_interval 50ms\n}",
		"%s {\nlb_try_duration 1m\nlb_try_interval 50ms\n}",
	} {
		j := newJoint(t, "smtp", a)
		addresses := []any{freeAddress(t), j.up.address()}
		j.proxy = fmt.Sprintf(proxy, addresses[:strings.Count(proxy, "%s")]...)
		joints = append(joints, j)
	}
	joints[2].lines = append(joints[2].lines, "negotiation_timeout 500ms")
	c := serveJoints(t, joints...)
	client, up := joints[0].connect(t)
	rounds(t, client, up)
	failed := joints[1].dial(t)
	joints[1].requireWords(t, failed, upstreamName, "Upstream not available")
	require.NoError(t, failed.Close())
	require.Eventually(t, func() bool {
		return strings.Contains(c.loggedFor(failed), "connection refused")
	}, patience, 20*time.Millisecond)
	joints[2].requireWords(t, joints[2].dial(t), upstreamName, "Upstream timed out")
}
