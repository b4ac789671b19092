package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// An endToEnd is a server that negotiates the upgrade with the client, and again with
// an upstream that it chooses by SNI, and leaves TLS to these two.
type endToEnd struct {
	protocol, address string
	talk              *conversation
	upstreams         map[string]string // by SNI; that of "" is for all others
	lines             []string          // in the block of starttls
	upstreamLines     []string          // in the blocks of starttls_upstream
	subroute          []string          // in front of its routes
}

func newEndToEnd(t testing.TB, protocol string, upstreams map[string]string) *endToEnd {
	t.Helper()
	return &endToEnd{protocol: protocol, talk: conversationOf(t, protocol), address: freeAddress(t), upstreams: upstreams}
}

// String is the server as the layer4 option has it. A client of the line protocol is
// one with TLS from the first byte, since that protocol is upgraded in place.
func (e *endToEnd) String() string {
	targets, _ := targetLines(e.protocol)
	accept := fmt.Sprintf("starttls %s {\npassthrough\n%s\n%s\n}", e.protocol, targets, strings.Join(e.lines, "\n"))
	if e.protocol == "line" {
		accept = ""
	}
	routes := ""
	for name, address := range e.upstreams {
		if name != "" {
			label := "@" + strings.ReplaceAll(name, ".", "-")
			routes += fmt.Sprintf("%[1]s tls sni %[2]s\nroute %[1]s {\n%[3]s\n}\n", label, name, e.reach(address))
		}
	}
	if address, ok := e.upstreams[""]; ok {
		routes += fmt.Sprintf("route {\n%s\n}\n", e.reach(address))
	}
	return fmt.Sprintf("%s {\nroute {\n%s\nsubroute {\n%s\n%s}\n}\n}\n", e.address, accept, strings.Join(e.subroute, "\n"), routes)
}

// reach returns the handlers that upgrade to an upstream.
func (e *endToEnd) reach(address string) string {
	_, target := targetLines(e.protocol)
	return fmt.Sprintf("starttls_upstream %s {\npassthrough\n%s\n%s\n}\nproxy %s", e.protocol, target, strings.Join(e.upstreamLines, "\n"), address)
}

// passable are the protocols of which TLS can be left to others: the backend is not needed
// before.
func passable() []*upgrade.Protocol {
	return slices.DeleteFunc(upgrade.Protocols(), func(p *upgrade.Protocol) bool { return p.EarlyDial })
}

// ask is what a client says and hears before its ClientHello.
func (e *endToEnd) ask() []step {
	if e.protocol == "line" {
		return nil
	}
	return e.talk.ask()
}

// dial connects a client.
func (e *endToEnd) dial(config *tls.Config) (*peer, error) {
	conn, err := net.DialTimeout("tcp", e.address, patience)
	if err != nil {
		return nil, err
	}
	return newPeer(conn, config), nil
}

// use has a client upgrade and use the session, and then end it.
func (e *endToEnd) use(p *peer, sni string) error {
	defer func() { _ = p.raw.Close() }()
	steps := append(e.ask(), step{StartTLS: true, SNI: sni})
	return p.run(append(steps, e.talk.use...))
}

// The tenants whose upstreams have certificates of their own. XMPP clients ask for
// another name in plaintext.
var endTenants = []string{"a.example.org", "b.example.org", "c.example.org"}

// tenantSites are upstreams that terminate TLS, one for each tenant.
func tenantSites(t testing.TB, protocol string) map[string]*site {
	t.Helper()
	sites := make(map[string]*site)
	for _, tenant := range endTenants {
		s := newSite(t, protocol)
		s.names = []string{tenant}
		if protocol == "line" { // a greeting would come before the upgrade
			s.backend = newBackend(t, protocol, []step{{Expect: `^hello\r\n$`}, {SendText: "GOT hello\r\n"}})
		}
		sites[tenant] = s
	}
	return sites
}

// withoutSNI makes clients ask for nobody and still verify one tenant's certificate.
func withoutSNI(trust *tls.Config, tenant string) *tls.Config {
	config := trust.Clone()
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		intermediates := x509.NewCertPool()
		for _, cert := range state.PeerCertificates[1:] {
			intermediates.AddCert(cert)
		}
		_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: trust.RootCAs, Intermediates: intermediates, DNSName: tenant,
		})
		return err
	}
	return config
}

// A client gets the certificate and the backend of the tenant that it asks for, and
// one that asks for none, or for nobody's, those of the first.
func TestPassthroughReachesTheUpstreamAskedFor(t *testing.T) {
	fronts := make(map[*endToEnd]map[string]*site)
	var servers strings.Builder
	for _, p := range passable() {
		sites := tenantSites(t, p.Name)
		upstreams := map[string]string{"": sites[endTenants[0]].address}
		for tenant, s := range sites {
			upstreams[tenant] = s.address
			servers.WriteString(s.String())
		}
		e := newEndToEnd(t, p.Name, upstreams)
		fronts[e] = sites
		servers.WriteString(e.String())
	}
	c := startCaddy(t, servers.String())
	c.awaitCertificates(endTenants...)
	for e, sites := range fronts {
		t.Run(e.protocol, func(t *testing.T) {
			for _, tenant := range endTenants {
				e.requireReaches(t, c.trust(), sites, tenant, tenant)
			}
			e.requireReaches(t, withoutSNI(c.trust(), endTenants[0]), sites, "", endTenants[0])
		})
	}
}

// requireReaches has a client use the session, and requires that it was with the
// tenant's backend and no other's.
func (e *endToEnd) requireReaches(t *testing.T, config *tls.Config, sites map[string]*site, sni, tenant string) {
	t.Helper()
	before := make(map[string]int)
	for name, s := range sites {
		before[name] = s.backend.dialled()
	}
	p, err := e.dial(config)
	require.NoError(t, err)
	require.NoError(t, e.use(p, sni), tenant)
	before[tenant]++
	for name, s := range sites {
		require.Equal(t, before[name], s.backend.dialled(), "%s was asked for, %s was reached", tenant, name)
	}
}

// A client may take longer than matchers and negotiations have, before its
// ClientHello is due and after it. The ClientHello itself may come in pieces.
func TestPassthroughLeavesSlowClientsTheirTime(t *testing.T) {
	var fronts []*endToEnd
	var servers strings.Builder
	for _, p := range passable() {
		s := tenantSites(t, p.Name)[endTenants[0]]
		s.timeout = patience
		e := newEndToEnd(t, p.Name, map[string]string{endTenants[0]: s.address})
		unmatched := newEndToEnd(t, p.Name, map[string]string{"": s.address})
		servers.WriteString(s.String())
		for _, e := range []*endToEnd{e, unmatched} {
			e.subroute = []string{"matching_timeout 2s"}
			e.upstreamLines = []string{"negotiation_timeout 2s"}
			fronts = append(fronts, e)
			servers.WriteString(e.String())
		}
	}
	c := startCaddy(t, servers.String())
	c.awaitCertificates(endTenants[0])
	atOnce(t, fronts, func(e *endToEnd) error {
		p, err := e.dial(c.trust())
		if err != nil {
			return err
		}
		p.raw = &slowConn{Conn: p.raw}
		defer func() { _ = p.raw.Close() }()
		steps := e.ask()
		if len(steps) > 0 {
			steps = append([]step{{WaitMS: 2500}}, steps...)
		}
		steps = append(steps, step{StartTLS: true, SNI: endTenants[0]}, step{WaitMS: 2500})
		return p.run(append(steps, e.talk.use...))
	})
}

// atOnce does something with all at the same time, since it takes its time.
func atOnce[T fmt.Stringer](t *testing.T, all []T, do func(T) error) {
	t.Helper()
	failures := make([]error, len(all))
	var running sync.WaitGroup
	for i, one := range all {
		running.Go(func() { failures[i] = do(one) })
	}
	running.Wait()
	for i, err := range failures {
		require.NoError(t, err, "%s", all[i])
	}
}

// slowConn writes its first TLS record in small pieces, and takes its time for the
// second.
type slowConn struct {
	net.Conn
	records int
}

func (c *slowConn) Write(b []byte) (n int, err error) {
	if len(b) == 0 || b[0] != 0x16 && b[0] != 0x14 || c.records > 1 {
		return c.Conn.Write(b)
	}
	c.records++
	if c.records == 2 {
		time.Sleep(2500 * time.Millisecond)
		return c.Conn.Write(b)
	}
	for len(b) > 0 && err == nil {
		k := min(len(b), 100)
		_, err = c.Conn.Write(b[:k])
		b, n = b[k:], n+k
		time.Sleep(10 * time.Millisecond)
	}
	return n, err
}

// A client that policy optional lets stay in plaintext is told that there is no server
// for it, unless it is kept away from upstreams that want a ClientHello.
func TestPassthroughHasNoUpstreamForClientsInClear(t *testing.T) {
	type clear struct {
		*endToEnd
		backend *backend
	}
	var fronts []clear
	var servers strings.Builder
	for _, proto := range passable() {
		protocol := proto.Name
		if conversationOf(t, protocol).clear == nil {
			continue
		}
		b := newBackend(t, protocol, nil)
		e := newEndToEnd(t, protocol, map[string]string{"": b.address()})
		e.lines = []string{"policy optional", "allow_plaintext_auth"}
		apart := newEndToEnd(t, protocol, nil)
		apart.lines = e.lines
		apart.subroute = []string{"@tls tls\nroute @tls {\n" + e.reach(freeAddress(t)) + "\n}\nroute {\nproxy " + b.address() + "\n}"}
		fronts = append(fronts, clear{e, b})
		servers.WriteString(e.String())
		if !proto.ServerFirst { // whose bytes are held until the backend greets
			fronts = append(fronts, clear{apart, nil})
			servers.WriteString(apart.String())
		}
	}
	startCaddy(t, servers.String())
	for _, e := range fronts {
		client, want := e.talk.clear, e.talk.clear.some
		if e.backend != nil {
			want = client.none
		}
		p, err := e.dial(nil)
		require.NoError(t, err)
		steps := append(append(append([]step{}, e.talk.greet...), client.send...), step{Expect: want})
		if e.backend != nil {
			steps = append(steps, step{ExpectClose: true})
		}
		require.NoError(t, p.run(steps), e.protocol)
		if e.backend != nil {
			require.Zero(t, e.backend.dialled(), e.protocol)
		}
		require.NoError(t, p.raw.Close())
	}
}

// A client that does not begin TLS costs no upstream a connection.
func TestPassthroughWaitsForTheClientHello(t *testing.T) {
	b := newBackend(t, "smtp", nil)
	address := freeAddress(t)
	startCaddy(t, address+` {
		route {
			starttls smtp {
				passthrough
			}
			starttls_upstream smtp {
				passthrough
				negotiation_timeout 1s
			}
			proxy `+b.address()+`
		}
	}`)
	for name, steps := range map[string][]step{
		"silent": {{ExpectClose: true}},
		"plain":  {{SendText: "MAIL FROM:<me@example.org>\r\n"}, {ExpectClose: true}},
		"gone":   {{Close: true}},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.DialTimeout("tcp", address, patience)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			p := newPeer(conn, nil)
			require.NoError(t, p.run(append(conversationOf(t, "smtp").ask(), steps...)))
			require.Empty(t, p.fresh)
		})
	}
	require.Zero(t, b.dialled())
}
