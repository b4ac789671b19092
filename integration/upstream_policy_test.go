package integration_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// optionalSessions is how many go to an upstream that has no upgrade to offer.
const optionalSessions = 20

// With policy optional an upstream that does not offer the upgrade is joined to the client on
// the connection that it was asked on, which is the only one: `proxy` may choose another
// upstream for the next. The client hears what the upstream greets with, and the log says
// that it is in plaintext.
func TestUpstreamOptionalGoesOnInPlaintext(t *testing.T) {
	upstreams := map[*joint][2]*backend{}
	var all []*joint
	for _, p := range upgrade.Protocols() {
		if p.Resume == nil {
			continue
		}
		both := [2]*backend{startBackend(t, withoutUpgrade(t, p.Name)), startBackend(t, withoutUpgrade(t, p.Name))}
		j := newScripted(t, p.Name, "", "policy optional")
		j.proxy = fmt.Sprintf("%s %s {\nlb_policy round_robin\n}", both[0].address(), both[1].address())
		upstreams[j], all = both, append(all, j)
	}
	c := serveJoints(t, all...)
	for j, both := range upstreams {
		t.Run(j.protocol(), func(t *testing.T) {
			for range optionalSessions {
				client := j.dial(t)
				require.NoError(t, newPeer(client, nil).run(j.afresh()))
				require.Contains(t, c.logged(inClear), logEntry{
					Level: "warn", Logger: "layer4.handlers.starttls_upstream", Message: inClear,
					Remote: client.LocalAddr().String(), Protocol: j.protocol(),
				})
				require.NoError(t, client.Close())
			}
			for _, b := range both {
				require.NoError(t, b.await())
				require.Equal(t, optionalSessions/2, b.dialled())
			}
		})
	}
}

// afresh is a session in plaintext, with the greeting of a backend.
func (j *joint) afresh() (steps []step) {
	switch greeting := j.up.proto.Greeting; {
	case j.up.proto.ServerFirst && (j.up.proto.HearsClient || j.up.talk.opening != nil): // inside TLS its words are others
		return append(steps, j.up.talk.clear.send[0], step{Expect: j.up.talk.clear.some})
	case strings.Contains(greeting, "%s"):
		steps = append(steps, step{Expect: `^.*backend.*\r\n$`})
	case greeting != "":
		steps = append(steps, step{Expect: `(?s)^` + regexp.QuoteMeta(greeting) + `$`}) // it names nobody
	case j.up.talk.opening != nil:
		steps = append(steps, step{SendText: j.up.talk.opening.client}, step{Expect: j.up.talk.opening.pattern})
	}
	for _, s := range j.up.talk.use {
		s.SendText, s.TLSSendText = s.TLSSendText, ""
		steps = append(steps, s)
	}
	return steps
}

// withoutUpgrade is a server that has no upgrade to offer, and serves who has asked for it.
func withoutUpgrade(t testing.TB, protocol string) func(net.Conn) error {
	t.Helper()
	switch {
	case protocol == "mysql":
		greeting := conversationOf(t, protocol).upstream.without[0].SendText
		return func(conn net.Conn) error {
			if _, err := io.WriteString(conn, greeting); err != nil {
				return nil
			}
			return serveLeniently(conn, protocol, false)
		}
	case servers[protocol] == nil:
		return func(conn net.Conn) error { return serveLeniently(conn, protocol, true, lenient.Bare) }
	case protocol == "postgres":
		return func(conn net.Conn) error {
			if packet, err := readStartup(conn); err != nil || packet != sslRequest {
				return fmt.Errorf("asked with %q: %w", packet, err)
			}
			if _, err := io.WriteString(conn, "N"); err != nil {
				return nil
			}
			return servePostgres(conn)
		}
	}
	return serverOf(t, protocol)
}

// Where an upstream has lied about what it offers, the client does not hear of it later, and
// the upstream does not hear a client that wants it.
func TestUpstreamOptionalHidesLaterOffers(t *testing.T) {
	b := newBackend(t, "smtp", []step{
		{SendText: "220 backend ready\r\n"}, {Expect: `^EHLO .*\r\n$`}, {SendText: "250 backend\r\n"},
		{Expect: `^RSET\r\n$`}, {SendText: "250 Ok\r\n"},
		{Expect: `^EHLO inside\r\n$`}, {SendText: "250-backend\r\n250 STARTTLS\r\n"}, {Expect: `^NOOP\r\n$`}, {SendText: "250 Ok\r\n"},
	})
	j := newScripted(t, "smtp", b.address(), "policy optional")
	serveJoints(t, j)
	client := j.dial(t)
	require.NoError(t, newPeer(client, nil).run([]step{
		{Expect: `^220 backend ready\r\n$`}, {SendText: "EHLO inside\r\n"}, {Expect: `^250 backend\r\n$`},
		{SendText: "STARTTLS\r\nNOOP\r\n"}, {Expect: `^502 5.5.1 Command not implemented\r\n250 Ok\r\n$`},
	}))
	require.NoError(t, client.Close())
	require.NoError(t, b.await())
}

// refusalReasons are what a client reads about the refusals of upstream_refusal_test.go.
var refusalReasons = map[string]string{
	"without": "Upstream does not offer TLS", "refuses": "Upstream refused TLS",
	"leaves": "Upstream not available", "closes": "Upstream not available", "down": "Upstream not available",
	"silent": "Upstream timed out", "stuck": "Upstream timed out",
	"nonsense": "Upstream (timed out|refused TLS|violated the protocol before TLS)",
	"injects":  "Upstream violated the protocol before TLS",
}

// refusalsBehindTheRequest are those where TLS follows the request at once.
var refusalsBehindTheRequest = map[string]string{
	"refuses": "Upstream violated the protocol before TLS", "leaves": "TLS with upstream failed",
}

// timeFor is short where it passes. All upstreams are asked at the same time, so that others may be slow.
func timeFor(refusal string) string {
	switch refusal {
	case "silent", "stuck", "nonsense":
		return "1s"
	}
	return "15s"
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
					r.backend = newBackend(t, p.Name, refusal.script(conversationOf(t, p.Name).upstream))
					address = r.backend.address()
				}
				r.joint = newScripted(t, p.Name, address, "policy "+policy, "negotiation_timeout "+timeFor(name))
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
			if other, ok := refusalsBehindTheRequest[r.refusal]; ok && r.up.talk.upstream.goAhead == "" {
				why = other
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

// An upstream that fails at TLS is no reason for staying in plaintext.
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
		script := conversationOf(t, p.Name).upstream
		mute := newBackend(t, p.Name, script.consented())
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
