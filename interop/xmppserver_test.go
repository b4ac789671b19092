package interop

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// s2sPort is where XMPP servers look for others whose domain is an address.
const s2sPort = "5269"

// A federated server is a Prosody for a domain that is an address, so that others find it
// without DNS.
type federated struct {
	domain   string
	c2s, s2s string
	*process
}

// public is where other servers find it.
func (f *federated) public() string { return net.JoinHostPort(f.domain, s2sPort) }

const federatedConf = `
run_as_root = true
pidfile = "%[1]s/prosody.pid"
data_path = "%[1]s/data"
certificates = "%[1]s"
interfaces = { "127.0.0.1" }
c2s_ports = { %[2]s }
c2s_direct_tls_ports = {}
s2s_ports = { %[3]s }
s2s_direct_tls_ports = {}
modules_enabled = { "roster", "saslauth", "tls", "dialback" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_require_encryption = false
s2s_secure_auth = false
authentication = "internal_plain"
log = { { levels = { min = "debug" }, to = "console" } }
%[4]s
VirtualHost "%[5]s"
`

// noGrace is for sessions that servers keep.
const noGrace = "starttls {\ngrace_period 0\n}"

// domainOf is an address for a domain of this process alone.
func domainOf(n int) string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 10+pid%200, 1+pid/200%250, n)
}

// startFederated runs one, with settings that override those in front. In them 15222 and 15269, as
// in the example, stand for the ports.
func startFederated(t testing.TB, n int, settings string) *federated {
	t.Helper()
	need(t, "prosody")
	f := &federated{domain: domainOf(n), c2s: freeAddr(t), s2s: freeAddr(t)}
	settings = strings.NewReplacer("15222", port(t, f.c2s), "15269", port(t, f.s2s)).Replace(settings)
	dir := serverDir(t)
	writeFile(t, dir, "data/"+strings.ReplaceAll(f.domain, ".", "%2e")+"/accounts/alice.dat", fmt.Sprintf("return { [\"password\"] = %q }\n", xmppPassword))
	config := writeFile(t, dir, "prosody.cfg.lua", fmt.Sprintf(federatedConf, dir, port(t, f.c2s), port(t, f.s2s), settings, f.domain))
	f.process = startProcess(t, "prosody", "--config", config, "-F")
	waitTCP(t, f.c2s)
	waitTCP(t, f.s2s)
	return f
}

// requireFederation has users of two servers send each other a message.
func requireFederation(t testing.TB, a, b *federated) {
	t.Helper()
	need(t, "python3")
	out, err := run(t, startTimeout, "", "python3", "testdata/xmpp_federation.py", xmppPassword,
		port(t, a.c2s), a.domain, port(t, b.c2s), b.domain)
	require.NoError(t, err, out)
	require.Equal(t, fmt.Sprintf("alice@%s/test hello %s\nalice@%s/test and to you\n", a.domain, strings.Repeat("x", 20000), b.domain), out)
}

// ownTLS is a certificate for a Prosody that upgrades by itself.
func ownTLS(t testing.TB, ca *authority, names ...string) string {
	t.Helper()
	cert, key := ca.issue(t, names...)
	return fmt.Sprintf("ssl = { certificate = %q, key = %q }", cert, key)
}

// Two servers find each other behind Caddy, over TLS, and ask each other back by dialback.
// They would upgrade with other servers themselves, but never get to offer it.
func TestXMPPFederation(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	a, b := startFederated(t, 1, ownTLS(t, ca, domainOf(1))), startFederated(t, 2, ownTLS(t, ca, domainOf(2)))
	config := ""
	for _, f := range []*federated{a, b} {
		config += fmt.Sprintf("%s {\nroute {\nstarttls xmpp-server %s\nproxy %s\n}\n}\n", f.public(), f.domain, f.s2s)
	}
	c := startCaddyWith(t, noGrace, config, []string{a.domain, b.domain}, a.public(), b.public())
	requireFederation(t, a, b)
	for _, f := range []*federated{a, b} {
		require.NotRegexp(t, `s2sin\w+\s+\w+\s+.*(TLS negotiation|starttls)`, f.Log(), "a second upgrade")
	}
	require.GreaterOrEqual(t, strings.Count(c.Log(), "negotiated upgrade"), 2)
}

// A server that does no TLS reaches one that demands it, which asks back in TLS, too.
func TestXMPPFederationUpstream(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	a := startFederated(t, 3, `modules_disabled = { "tls" }`)
	b := startFederated(t, 4, ownTLS(t, ca, domainOf(4))+"\ns2s_require_encryption = true")
	config := fmt.Sprintf("%s {\nroute {\nstarttls_upstream xmpp-server {\nhostname %s\ntls_server_name %s\ntls_trust_pool file %s\n}\nproxy %s\n}\n}\n",
		b.public(), a.domain, b.domain, ca.file, b.s2s)
	config += fmt.Sprintf("%s {\nroute {\nstarttls xmpp-server %s\nproxy %s\n}\n}\n", a.public(), a.domain, a.s2s)
	startCaddyWith(t, noGrace, config, []string{a.domain}, a.public(), b.public())
	requireFederation(t, a, b)
}

// xmppServerHeader begins a stream between servers.
var xmppServerHeader = strings.NewReplacer("jabber:client", "jabber:server", "to='", "from='peer.example.com' to='").Replace(xmppHeader)

func TestXMPPServer(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	backend := startFederated(t, 5, ownTLS(t, ca, domainOf(5)))
	f := startFront(t, "xmpp-server", []string{xmppHost}, backend.s2s)
	for _, sni := range [][]string{{"-servername", f.host}, {"-noservername"}} {
		out, err := f.sClient(t, "", append(sni, "-brief")...)
		require.NoError(t, err, out)
		require.Contains(t, out, "Verified peername: "+f.host)
	}
	f.requireALPN(t, "xmpp-server")
	f.requireResumption(t, xmppServerHeader+"</stream:stream>")

	header := strings.ReplaceAll(xmppServerHeader, xmppHost, backend.domain)
	out, err := f.sClient(t, header+xmppUpgrade, "-quiet", "-nocommands")
	require.NoError(t, err, out)
	require.Contains(t, out, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
	require.NotRegexp(t, `s2sin\w+\s+\w+\s+.*starttls`, backend.Log())
	out, err = f.sClient(t, header+"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>", "-quiet", "-nocommands")
	require.NoError(t, err, out)
	require.Contains(t, out, "<invalid-mechanism/></failure></stream:stream>")
	reply := plainReply(t, f.addr, xmppServerHeader+"<db:result xmlns:db='jabber:server:dialback' from='peer.example.com' to='"+xmppHost+"'>key</db:result>")
	require.Contains(t, reply, "<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")

	status, r := probeJSON(t, "xmpp-server", f.addr, "--ca", f.Root(), "--server-name", f.host)
	require.Zero(t, status, "%+v", r)
	require.Equal(t, "verified", r.Outcome)
}
