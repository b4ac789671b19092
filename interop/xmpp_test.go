package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// xmppHost is the domain of the XMPP server and of its one user.
const (
	xmppHost     = "xmpp.example.com"
	xmppUser     = "alice"
	xmppPassword = "open sesame"
)

// prosodyPlain has Prosody without an upgrade of its own: what a backend behind the
// plugin should look like.
const prosodyPlain = `modules_disabled = { "s2s", "tls" }`

// prosodyTLS returns settings for a Prosody that would do the upgrade itself, which
// the plugin has to hide from clients that are on TLS already.
func prosodyTLS(t testing.TB) string {
	t.Helper()
	cert, key := selfSigned(t, "backend.example.com")
	return fmt.Sprintf("modules_disabled = { \"s2s\" }\nssl = { certificate = %q, key = %q }", cert, key)
}

// startProsody runs an XMPP server that allows everything in plaintext, and returns its
// address.
func startProsody(t testing.TB, tls string) string {
	t.Helper()
	addr, _ := startProsodyWith(t, tls)
	return addr
}

// startProsodyWith runs an XMPP server with settings that override those in front. In them 15222,
// as in the example, stands for the port.
func startProsodyWith(t testing.TB, settings string) (addr string, p *process) {
	t.Helper()
	need(t, "prosody")
	dir := serverDir(t)
	addr = freeAddr(t)
	writeFile(t, dir, "data/xmpp%2eexample%2ecom/accounts/"+xmppUser+".dat",
		fmt.Sprintf("return { [\"password\"] = %q }\n", xmppPassword))
	config := writeFile(t, dir, "prosody.cfg.lua", fmt.Sprintf(prosodyConf, dir, port(t, addr), strings.ReplaceAll(settings, "15222", port(t, addr)), xmppHost))
	p = startProcess(t, "prosody", "--config", config, "-F")
	waitTCP(t, addr)
	return addr, p
}

const prosodyConf = `
run_as_root = true
pidfile = "%[1]s/prosody.pid"
data_path = "%[1]s/data"
certificates = "%[1]s"
interfaces = { "127.0.0.1" }
c2s_ports = { %[2]s }
c2s_direct_tls_ports = {}
modules_enabled = { "roster", "saslauth", "tls" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
log = { { levels = { min = "info" }, to = "console" } }
%[3]s
VirtualHost "%[4]s"
`

// startXMPPFront runs Caddy in front of an XMPP server. The second hostname is for
// clients that name the host that they connect to.
func startXMPPFront(t testing.TB, backend string) *front {
	t.Helper()
	return startFront(t, "xmpp", []string{xmppHost, "localhost"}, backend)
}

// xmppHeader begins a stream.
const xmppHeader = `<?xml version='1.0'?><stream:stream to='` + xmppHost + `' xmlns='jabber:client' ` +
	`xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>`

func TestXMPPClients(t *testing.T) {
	t.Parallel()
	for name, tls := range map[string]string{"plain backend": prosodyPlain, "upgrading backend": prosodyTLS(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startXMPPFront(t, startProsody(t, tls))
			f.requireUpgrades(t)
			t.Run("by hand", func(t *testing.T) { f.requireXMPPSession(t) })
			t.Run("slixmpp", func(t *testing.T) {
				out, err := debianPython(t, "slixmpp", "testdata/xmpp_slixmpp.py", port(t, f.addr), f.Root(),
					xmppUser+"@"+xmppHost, xmppPassword)
				require.NoError(t, err, out)
				require.Contains(t, out, "session: alice@xmpp.example.com TLSv1.3\n"+
					"message: hello from alice@xmpp.example.com\n")
			})
			t.Run("go-sendxmpp", func(t *testing.T) { f.requireGoSendXMPP(t) })
			t.Run("sslscan", func(t *testing.T) {
				need(t, "sslscan")
				out, err := run(t, clientTimeout, "", "sslscan", "--no-colour", "--starttls-xmpp", "--sni-name="+xmppHost, f.addr)
				require.NoError(t, err, out)
				require.Regexp(t, `TLSv1\.3 +enabled`, out)
			})
			t.Run("ALPN", func(t *testing.T) { f.requireALPN(t, "xmpp-client") })
			t.Run("resumption", func(t *testing.T) { f.requireResumption(t, xmppHeader+"</stream:stream>") })
		})
	}
}

// requireGoSendXMPP sends a message with a client that is made of go-xmpp. In all versions of
// that, a line end follows the request for the upgrade.
func (f *front) requireGoSendXMPP(t testing.TB) {
	t.Helper()
	need(t, "go-sendxmpp")
	user := xmppUser + "@" + xmppHost
	out, err := run(t, clientTimeout, "hello from Go", "env", "SSL_CERT_FILE="+f.Root(),
		"go-sendxmpp", "-d", "-u", user, "-p", xmppPassword, "-j", f.addr, user)
	require.NoError(t, err, out)
	require.Contains(t, out, "<proceed")
	require.Contains(t, out, "hello from Go")
}

// requireXMPPSession goes through all that a client says from the connection to a
// message. In TLS, the upgrade is never offered again, although a Prosody that has
// one offers it even after the login.
func (f *front) requireXMPPSession(t testing.TB) {
	t.Helper()
	need(t, "python3")
	out, err := run(t, clientTimeout, "", "python3", "testdata/xmpp_client.py",
		port(t, f.addr), f.Root(), xmppHost, xmppUser, xmppPassword)
	require.NoError(t, err, out)
	lines := strings.Split(out, "\n")
	require.Len(t, lines, 7, out)
	require.Equal(t, "features in plaintext: starttls", lines[0])
	require.Equal(t, "verified: "+xmppHost, lines[1])
	require.Equal(t, "features in TLS: mechanisms", lines[2])
	require.Regexp(t, `^features after login: bind (.* )?session`, lines[3])
	require.NotContains(t, lines[3], "starttls")
	require.Equal(t, "bound: alice@xmpp.example.com/test", lines[4])
	require.Equal(t, "message: 1000 words from alice@xmpp.example.com/test", lines[5])
}

// TestXMPPRefusesPlaintext does in plaintext what needs TLS. The backend never sees a
// connection.
func TestXMPPRefusesPlaintext(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startXMPPFront(t, backend)
	for name, test := range map[string]struct{ send, want string }{
		"login": {
			"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAA==</auth></stream:stream>",
			"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>",
		},
		"stanza": {
			"<message to='bob@example.com'><body>hello</body></message></stream:stream>",
			"<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>",
		},
		"malformed": {"<message <", "<not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"},
	} {
		t.Run(name, func(t *testing.T) {
			reply := plainReply(t, f.addr, xmppHeader+test.send)
			require.Contains(t, reply, test.want)
			require.True(t, strings.HasSuffix(strings.TrimSpace(reply), "</stream:stream>"), reply)
		})
	}
	require.Zero(t, connections(), "a client without TLS reached the backend")
}

// TestXMPPUnknownHost asks for a domain that is not here. Which ones there are, the
// backend knows, and its answer comes through.
func TestXMPPUnknownHost(t *testing.T) {
	t.Parallel()
	f := startXMPPFront(t, startProsody(t, prosodyPlain))
	other := strings.ReplaceAll(xmppHeader, xmppHost, "other.example.com")
	out, err := f.sClient(t, other, "-quiet", "-nocommands", "-name", "other.example.com")
	require.NoError(t, err, out)
	require.Contains(t, out, "<host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")
}

// TestXMPPRefusesInjection puts a login right behind the upgrade request, as an
// attacker on the path would.
func TestXMPPRefusesInjection(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startXMPPFront(t, backend)
	reply := plainReply(t, f.addr, xmppHeader+"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"+
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAA==</auth>")
	require.NotContains(t, reply, "<proceed", "the upgrade went ahead")
	require.Zero(t, connections())
}

// TestXMPPBackendDown has nothing listen behind Caddy. The client is on TLS by then,
// and hears of it in a stream error.
func TestXMPPBackendDown(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	f := startXMPPFront(t, freeAddr(t))
	out, err := f.sClient(t, xmppHeader, "-quiet", "-nocommands")
	require.NoError(t, err, out)
	require.Regexp(t, `<stream:stream [^>]*>(<stream:features>.*</stream:features>)?<stream:error>`, out)
	require.Contains(t, out, "<remote-connection-failed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>")
	require.Contains(t, out, "</stream:stream>")
}

// TestXMPPUpgradeInTLS asks for TLS a second time, which a Prosody with TLS would
// grant, inside the first.
func TestXMPPUpgradeInTLS(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	f := startXMPPFront(t, startProsody(t, prosodyTLS(t)))
	out, err := f.sClient(t, xmppHeader+"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "-quiet", "-nocommands")
	require.NoError(t, err, out)
	require.NotContains(t, out, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream")
	require.Contains(t, out, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
}
