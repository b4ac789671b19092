package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// An upstreamScript is what a server of a protocol says that can upgrade.
type upstreamScript struct {
	asked   []step // up to the request
	goAhead string
	refusal string
	without []step // one that has no upgrade, up to where it has said so
}

const (
	xmppServer  = "<?xml version='1.0'?><stream:stream from='example.org' id='1' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	xmppUpgrade = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
)

// ldapAnswer is the response to the upgrade request, with a result code.
func ldapAnswer(code string) string {
	return "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01" + code + "\x04\x00\x04\x00"
}

var upstreamScripts = map[string]upstreamScript{
	"smtp": smtpUpstream("EHLO"),
	"lmtp": smtpUpstream("LHLO"),
	"imap": {
		asked: []step{
			{SendText: "* OK [CAPABILITY IMAP4rev1 STARTTLS] secret\r\n"}, {Expect: `^(?P<tag>\S+) STARTTLS\r\n$`, Save: "tag"},
		},
		goAhead: "{tag} OK\r\n", refusal: "{tag} NO secret\r\n",
		without: []step{
			{SendText: "* OK secret\r\n"}, {Expect: `^(?P<tag>\S+) CAPABILITY\r\n$`, Save: "tag"},
			{SendText: "* CAPABILITY IMAP4rev1\r\n{tag} OK secret\r\n"},
		},
	},
	"pop3": {
		asked: []step{
			{SendText: "+OK secret\r\n"}, {Expect: `^CAPA\r\n$`}, {SendText: "+OK\r\nSTLS\r\n.\r\n"}, {Expect: `^STLS\r\n$`},
		},
		goAhead: "+OK\r\n", refusal: "-ERR secret\r\n",
		without: []step{{SendText: "+OK secret\r\n"}, {Expect: `^CAPA\r\n$`}, {SendText: "+OK\r\nUSER\r\n.\r\n"}},
	},
	"sieve": {
		asked: []step{
			{SendText: "\"IMPLEMENTATION\" \"secret\"\r\n\"STARTTLS\"\r\nOK\r\n"}, {Expect: `^STARTTLS\r\n$`},
		},
		goAhead: "OK\r\n", refusal: "NO \"secret\"\r\n",
		without: []step{{SendText: "\"IMPLEMENTATION\" \"secret\"\r\nOK\r\n"}},
	},
	"ldap": {
		asked:   []step{{Expect: `(?s)^\x30.\x02\x01\x01\x77.*20037$`}},
		goAhead: ldapAnswer("\x00"), refusal: ldapAnswer("\x34"),
		without: []step{{Expect: `(?s)^\x30`}, {SendText: ldapAnswer("\x02")}},
	},
	"postgres": {
		asked:   []step{{Expect: `(?s)^.{8}$`}},
		goAhead: "S", refusal: "E\x00\x00\x00\x05\x00",
		without: []step{{Expect: `(?s)^.{8}$`}, {SendText: "N"}},
	},
	"xmpp": {
		asked: []step{
			{Expect: `<stream:stream .*to='example.org'.*>$`}, {SendText: xmppServer + xmppUpgrade}, {Expect: `<starttls .*>$`},
		},
		goAhead: "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", refusal: "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>",
		without: []step{{Expect: `<stream:stream .*>$`}, {SendText: xmppServer + "<stream:features/>"}},
	},
	"line": {
		asked:   []step{{Expect: `^STARTTLS\n$`}},
		goAhead: "GO\r\n", refusal: "NO secret\r\n",
		without: []step{{Expect: `^STARTTLS\n$`}, {SendText: "WHAT secret\r\n"}},
	},
}

func smtpUpstream(hello string) upstreamScript {
	greet := []step{{SendText: "220 secret\r\n"}, {Expect: `^` + hello + ` .*\r\n$`}}
	return upstreamScript{
		asked:   append(greet[:2:2], step{SendText: "250-secret\r\n250 STARTTLS\r\n"}, step{Expect: `^STARTTLS\r\n$`}),
		goAhead: "220 go ahead\r\n", refusal: "454 4.7.0 secret\r\n",
		without: append(greet[:2:2], step{SendText: "250-secret\r\n250 8BITMIME\r\n"}),
	}
}

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

// newRefusing makes a server for a protocol, with an upstream for each refusal.
func newRefusing(t testing.TB, protocol string) *endToEnd {
	t.Helper()
	upstreams := map[string]string{"down": freeAddress(t), "stuck": stuckServer(t)}
	for name, refusal := range refusals {
		if refusal.script != nil {
			upstreams[name] = newBackend(t, protocol, refusal.script(upstreamScripts[protocol])).address()
		}
	}
	e := newEndToEnd(t, protocol, upstreams)
	e.upstreamLines = []string{"negotiation_timeout 1s"}
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
	for _, p := range upgrade.Protocols() {
		require.Contains(t, upstreamScripts, p.Name)
		e := newRefusing(t, p.Name)
		fronts = append(fronts, e)
		servers.WriteString(e.String())
	}
	c := startCaddy(t, servers.String())
	var clients []refusedClient
	for _, e := range fronts {
		for name := range refusals {
			clients = append(clients, refusedClient{e, name})
		}
	}
	trust := &tls.Config{RootCAs: x509.NewCertPool()}
	atOnce(t, clients, func(r refusedClient) error { return r.meetsTheEnd(c, trust) })
}

// A refusedClient asks for the upstream that refuses in one of the ways.
type refusedClient struct {
	*endToEnd
	refusal string
}

func (r refusedClient) String() string { return r.protocol + " " + r.refusal }

func (r refusedClient) meetsTheEnd(c *instance, trust *tls.Config) error {
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
