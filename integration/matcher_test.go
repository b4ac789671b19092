package integration_test

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func matchable(p *upgrade.Protocol) bool { return p.Match != nil }

// firstWords are what a client says before it hears anything.
func firstWords(t testing.TB, protocol string) string {
	t.Helper()
	c := conversationOf(t, protocol)
	if len(c.greet) > 0 {
		return c.greet[0].SendText
	}
	return c.request
}

// A matcher that asked for more than the request would wait for a client that waits
// for the answer.
func TestMatchersNeedTheRequestAndNoMore(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		if !matchable(p) {
			continue
		}
		words := []byte(firstWords(t, p.Name))
		decided := -1
		for n := range len(words) + 1 {
			verdict := p.Match(words[:n])
			require.NotEqual(t, dialogue.NoMatch, verdict, "%s after %q", p.Name, words[:n])
			switch {
			case verdict == dialogue.Matched && decided < 0:
				decided = n
			case verdict != dialogue.Matched:
				require.Negative(t, decided, "%s undecided again after %q", p.Name, words[:n])
			}
		}
		require.Positive(t, decided, "%s does not match %q", p.Name, words)
		require.Equal(t, dialogue.Matched, p.Match(append(words, "and more"...)), p.Name)
	}
}

// strangers speak first as well, but do not ask for this upgrade.
func strangers(t *testing.T) map[string]string {
	return map[string]string{
		"HTTP":                    "GET / HTTP/1.1\r\nHost: mail.example.com\r\n\r\n",
		"TLS":                     clientHello(t),
		"SSH":                     "SSH-2.0-OpenSSH_9.9\r\n",
		"LDAP bind":               ldapBind,
		"LDAP Who am I":           "\x30\x1e\x02\x01\x01\x77\x19\x80\x171.3.6.1.4.1.4203.1.11.3",
		"PostgreSQL in plaintext": startup,
		"PostgreSQL, long":        "\x00\x00\x00\x09\x04\xd2\x16\x2f\x00",
		"PostgreSQL, cancel":      "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x10\x92\x07\x5b\xcd\x15",
		"XML":                     "<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'></html>",
		"NUL":                     strings.Repeat("\x00", 20),
	}
}

// NoMatch is final, so it must come as soon as no request can begin like this.
func TestMatchersRejectStrangers(t *testing.T) {
	for name, words := range strangers(t) {
		for _, p := range upgrade.Protocols() {
			if !matchable(p) {
				continue
			}
			rejected := false
			for n := range len(words) + 1 {
				verdict := p.Match([]byte(words[:n]))
				require.NotEqual(t, dialogue.Matched, verdict, "%s takes %q for its own", p.Name, words[:n])
				require.False(t, rejected && verdict != dialogue.NoMatch, "%s changes its mind after %q", p.Name, words[:n])
				rejected = verdict == dialogue.NoMatch
			}
			require.True(t, rejected, "%s still wants more of %s", p.Name, name)
		}
	}
}

// clientHello is what a client sends that begins with TLS.
func clientHello(t *testing.T) string {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	go func() { _ = tls.Client(near, &tls.Config{ServerName: "mail.example.com"}).Handshake() }()
	hello := make([]byte, 16<<10)
	n, err := far.Read(hello)
	require.NoError(t, err)
	return string(hello[:n])
}

// others is in front of the names of caddy-l4's matchers, which protocols may have, too.
const others = "l4-"

// A sharedPort is one server for all matchable protocols, and for HTTP, TLS and SSH,
// which are passed on as they are.
type sharedPort struct {
	sites  map[string]*site
	others map[string]*backend
}

func newSharedPort(t *testing.T) *sharedPort {
	t.Helper()
	p := &sharedPort{sites: make(map[string]*site), others: make(map[string]*backend)}
	for _, s := range sitePerProtocol(t, matchable) {
		p.sites[s.protocol] = s
	}
	for _, matcher := range []string{"http", "tls", "ssh"} {
		p.others[others+matcher] = newBackend(t, "line", nil)
	}
	return p
}

// names are those of all routes, in the order of the alphabet but for the last one.
// caddy-l4 gives up on a route that needs more bytes when the last one needs none (its
// pull request 455).
func (p *sharedPort) names(last string) []string {
	names := slices.Concat(slices.Collect(maps.Keys(p.sites)), slices.Collect(maps.Keys(p.others)))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(btoi(a == last), btoi(b == last)), cmp.Compare(a, b))
	})
	return names
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// server is the server at an address.
func (p *sharedPort) server(address, last string) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s {\n", address)
	for _, name := range p.names(last) {
		if site := p.sites[name]; site != nil {
			fmt.Fprintf(&s, "@%s starttls %[1]s\nroute @%[1]s {\n starttls %[1]s %s\n proxy %s\n}\n",
				name, strings.Join(site.hostnames(), " "), site.backend.address())
			continue
		}
		fmt.Fprintf(&s, "@%s %s\nroute @%[1]s {\n proxy %[3]s\n}\n", name, strings.TrimPrefix(name, others), p.others[name].address())
	}
	s.WriteString("}\n")
	return s.String()
}

func (p *sharedPort) awaitCertificates(c *instance) {
	c.t.Helper()
	for _, s := range p.sites {
		c.awaitCertificates(s.hostnames()...)
	}
}

// requireReached has a client of one of the protocols send in chunks.
func (p *sharedPort) requireReached(t *testing.T, c *instance, address, name string, chunk int) {
	t.Helper()
	if s := p.sites[name]; s != nil {
		s.address = address
		s.requireMatched(t, c.trust(), chunk)
		return
	}
	requirePassedOn(t, address, strangers(t)[strings.ToUpper(strings.TrimPrefix(name, others))], chunk, p.others[name])
}

func TestMatchersShareAPort(t *testing.T) {
	shared := newSharedPort(t)
	address := freeAddress(t)
	c := startCaddy(t, shared.server(address, others+"http"))
	shared.awaitCertificates(c)
	for _, name := range shared.names("") {
		t.Run(name, func(t *testing.T) { shared.requireReached(t, c, address, name, 0) })
	}
	for name, s := range shared.sites {
		require.Equal(t, 1, s.backend.dialled(), name)
	}
}

// However small the segments, a matcher waits for the rest of a request. caddy-l4's own for
// HTTP takes half a header line for a malformed one, so it is left out.
func TestMatchersTakeByteAfterByte(t *testing.T) {
	shared := newSharedPort(t)
	delete(shared.others, others+"http")
	addresses := make(map[string]string)
	var servers strings.Builder
	for _, name := range shared.names("") {
		addresses[name] = freeAddress(t)
		servers.WriteString(shared.server(addresses[name], name))
	}
	c := startCaddy(t, servers.String())
	shared.awaitCertificates(c)
	for name, address := range addresses {
		t.Run(name, func(t *testing.T) { shared.requireReached(t, c, address, name, 1) })
	}
}

// requireMatched upgrades with a client that sends in chunks.
func (s *site) requireMatched(t *testing.T, trust *tls.Config, chunk int) {
	t.Helper()
	p, err := s.dial(trust)
	require.NoError(t, err)
	defer func() { _ = p.raw.Close() }()
	var script []step
	for _, ask := range s.talk.ask() {
		if ask.SendText != "" {
			ask.Chunk, ask.GapMS = chunk, chunk
		}
		script = append(script, ask)
	}
	script = append(script, step{StartTLS: true})
	require.NoError(t, p.run(append(script, s.talk.use...)))
}

// requirePassedOn sends what is no upgrade request, and finds it at the backend.
func requirePassedOn(t *testing.T, address, words string, chunk int, b *backend) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	p := newPeer(conn, nil)
	defer func() { _ = conn.Close() }()
	before := b.dialled()
	require.NoError(t, p.run([]step{{SendText: words, Chunk: chunk, GapMS: min(chunk, 1)}, {Expect: `^READY`}}))
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	require.NoError(t, b.await())
	require.Equal(t, before+1, b.dialled())
	require.Equal(t, words, string(b.dials[before].received))
}
