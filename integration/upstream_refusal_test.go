package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// refusals are the ways of an upstream to have no TLS for a client that has begun
// it, and what the log says of them. Where there is no script, nobody answers.
var refusals = map[string]struct {
	script func(upstreamScript) []step
	logged string
}{
	"without": {func(u upstreamScript) []step { return u.without }, `not offer|refused`},
	"refuses": {func(u upstreamScript) []step {
		return append(u.asked[:len(u.asked):len(u.asked)], step{SendText: u.refusal})
	}, `refused`},
	"leaves":   {func(u upstreamScript) []step { return append(u.asked[:len(u.asked):len(u.asked)], step{Close: true}) }, `EOF`},
	"closes":   {func(upstreamScript) []step { return []step{{Close: true}} }, `EOF|closed|reset`},
	"silent":   {func(upstreamScript) []step { return []step{} }, `timed out|timeout`},
	"nonsense": {func(upstreamScript) []step { return []step{{SendText: "\x15\x03\x01 secret\r\n"}} }, `upgrading upstream: `},
	"injects": {func(u upstreamScript) []step {
		return append(u.asked[:len(u.asked):len(u.asked)], step{SendText: u.goAhead + "secret\r\n"})
	}, `plaintext behind`},
	"down":  {nil, `connection refused`},
	"stuck": {nil, ``}, // the proxy handler waits on
}

// stuckServer neither speaks nor ever ends a connection.
func stuckServer(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// newRefusing makes a server for a protocol, with an upstream for each refusal that is to have so
// much time.
func newRefusing(t testing.TB, protocol, timeout string) *endToEnd {
	t.Helper()
	upstreams := map[string]string{}
	for name, refusal := range refusals {
		switch {
		case timeFor(name) != timeout:
		case refusal.script != nil:
			upstreams[name] = newBackend(t, protocol, refusal.script(conversationOf(t, protocol).upstream)).address()
		case name == "stuck":
			upstreams[name] = stuckServer(t)
		default:
			upstreams[name] = freeAddress(t)
		}
	}
	e := newEndToEnd(t, protocol, upstreams)
	e.upstreamLines = []string{"negotiation_timeout " + timeout}
	if protocol == "line" {
		e.upstreamLines = append(e.upstreamLines, "reply GO")
	}
	return e
}

// A client whose upstream turns out to have no TLS sees the end of the connection,
// and nothing else. It waits for a ServerHello, so words would be no use to it.
func TestPassthroughEndsWhereTheUpstreamRefuses(t *testing.T) {
	var fronts []*endToEnd
	var servers strings.Builder
	for _, p := range passable() {
		for _, timeout := range []string{"1s", "15s"} {
			e := newRefusing(t, p.Name, timeout)
			fronts = append(fronts, e)
			servers.WriteString(e.String())
		}
	}
	c := startCaddy(t, servers.String())
	var clients []refusedHandshake
	for _, e := range fronts {
		for name := range e.upstreams {
			clients = append(clients, refusedHandshake{e, name})
		}
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool()}
	atOnce(t, clients, func(r refusedHandshake) error { return r.meetsTheEnd(c, trust) })
}

// A refusedHandshake asks for the upstream that refuses in one of the ways.
type refusedHandshake struct {
	*endToEnd
	refusal string
}

func (r refusedHandshake) String() string { return r.protocol + " " + r.refusal }

func (r refusedHandshake) meetsTheEnd(c *instance, trust *tls.Config) error {
	p, err := r.dial(trust)
	if err != nil {
		return err
	}
	defer func() { _ = p.raw.Close() }()
	steps := append(r.ask(), step{StartTLS: true, SNI: r.refusal, ExpectFail: true}, step{ExpectClose: true})
	if err := p.run(steps); err != nil {
		return err
	}
	if len(p.wire.received) > 0 {
		return fmt.Errorf("received %x in place of a ServerHello", p.wire.received)
	}
	want := regexp.MustCompile(refusals[r.refusal].logged)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if want.MatchString(c.loggedFor(p.raw)) {
			return nil
		}
	}
	return fmt.Errorf("logged %q, want %q", c.loggedFor(p.raw), want)
}

// loggedFor returns what went wrong with a client's connection. A port of its own is
// no client's alone: others may have it towards other servers.
func (c *instance) loggedFor(client net.Conn) string {
	for _, entry := range c.logged("handling connection") {
		if entry.Remote == client.LocalAddr().String() && entry.Local == client.RemoteAddr().String() {
			return entry.Error
		}
	}
	return ""
}

// A ManageSieve server speaks first inside TLS as well (RFC 5804 section 2.2). One that does
// not is given up.
func TestUpstreamThatSaysNothingInsideTLSIsGivenUp(t *testing.T) {
	j := newJoint(t, "sieve", newAuthority(t))
	j.lines = append(j.lines, "negotiation_timeout 2s")
	serveJoints(t, j)
	client, up := j.connect(t)
	writes(t, client, "early words")
	requireReads(t, up, "early words")
	said, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Regexp(t, `^BYE \(TRYLATER\) "[ -~]+"\r\n$`, string(said))
	requireRest(t, up, "")
}
