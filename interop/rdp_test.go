package interop

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// What xfreerdp prints.
const (
	rdpConnected      = "Authentication only, exit status 0"
	rdpWrongName      = "WARNING: CERTIFICATE NAME MISMATCH!"
	rdpWrongAuthority = "Certificate verification failure"
	rdpNeedsTLS       = "Error: SSL_REQUIRED_BY_SERVER"
	rdpNoAgreement    = "Protocol Security Negotiation Failure" // the client refuses what the server has selected, too
	rdpDisconnected   = "Error: expected X224_TPDU_CONNECTION_CONFIRM"
)

// An rdpClient is FreeRDP's xfreerdp, which trusts an authority.
type rdpClient struct {
	*screen
	home, root, user string
}

func newRDPClient(t testing.TB, root string) *rdpClient {
	t.Helper()
	need(t, "xfreerdp")
	return &rdpClient{startScreen(t), t.TempDir(), root, "alice"}
}

// trusting is a client that trusts another authority.
func (c *rdpClient) trusting(root string) *rdpClient {
	return &rdpClient{c.screen, c.home, root, c.user}
}

// named is a client of another user.
func (c *rdpClient) named(user string) *rdpClient { return &rdpClient{c.screen, c.home, c.root, user} }

// command verifies the certificate for rdpHost, unless another option of that name follows.
func (c *rdpClient) command(addr string, options ...string) *exec.Cmd {
	return exec.Command("env", append([]string{
		"HOME=" + c.home, "XDG_CONFIG_HOME=" + c.home, "DISPLAY=" + c.display, "SSL_CERT_FILE=" + c.root,
		"xfreerdp", "/v:" + addr, "/u:" + c.user, "/cert:deny,name:" + rdpHost,
	}, options...)...)
}

// connect stops when the server is about to show something, and returns what the client prints.
func (c *rdpClient) connect(t testing.TB, addr string, options ...string) (string, error) {
	t.Helper()
	args := c.command(addr, append([]string{"/p:password", "+auth-only"}, options...)...).Args
	return run(t, clientTimeout, "", args[0], args[1:]...)
}

func (c *rdpClient) requireConnects(t testing.TB, addr string, options ...string) {
	t.Helper()
	out, err := c.connect(t, addr, options...)
	require.NoError(t, err, out)
	require.Contains(t, out, rdpConnected)
}

func (c *rdpClient) requireFails(t testing.TB, words, addr string, options ...string) {
	t.Helper()
	out, err := c.connect(t, addr, options...)
	require.Error(t, err, out)
	require.Contains(t, out, words)
}

// requireGreeter has the client show what the server draws.
func (c *rdpClient) requireGreeter(t testing.TB, addr string, options ...string) {
	t.Helper()
	session := startCmd(t, c.command(addr, options...))
	c.awaitColour(t, xrdpGround)
	session.Stop(t)
}

// A client upgrades, verifies the certificate, and reaches the login window of an xrdp in plaintext, which has its cookie or
// routing token.
func TestRDPClients(t *testing.T) {
	t.Parallel()
	backend := startTap(t, startXrdp(t, xrdpPlain))
	f := startFront(t, "rdp", []string{rdpHost}, backend.addr)
	c := newRDPClient(t, f.Root())
	c.requireGreeter(t, f.addr)
	require.Contains(t, backend.up.String(), "\xe0\x00\x00\x00\x00\x00Cookie: mstshash=alice\r\n\x03\x00", "not the cookie alone")
	c.requireConnects(t, f.addr, "/sec:tls", "/load-balance-info:Cookie: msts=3640205228.15629.0000")
	require.Contains(t, backend.up.String(), "\xe0\x00\x00\x00\x00\x00Cookie: msts=3640205228.15629.0000\r\n\x03\x00")
	c.requireFails(t, rdpWrongName, f.addr, "/cert:deny,name:other.example.com")
	c.trusting(newAuthority(t).file).requireFails(t, rdpWrongAuthority, f.addr)
}

// Without TLS there is nothing, and no backend hears of it. A client that insists on CredSSP gives up by itself: it always
// asks for TLS as well, and is granted that.
func TestRDPRefusesPlaintext(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startFront(t, "rdp", []string{rdpHost}, backend)
	c := newRDPClient(t, f.Root())
	c.requireFails(t, rdpNeedsTLS, f.addr, "/sec:rdp")
	c.requireFails(t, rdpNoAgreement, f.addr, "/sec:nla")
	require.Zero(t, connections(), "a client without TLS reached the backend")
}

// An xrdp that encrypts by itself, as it does unless told otherwise, has no session with a client on TLS, and the log says what to set.
func TestRDPBackendThatEncrypts(t *testing.T) {
	t.Parallel()
	f := startFront(t, "rdp", []string{rdpHost}, startXrdp(t, "security_layer=rdp\ncrypt_level=high"))
	newRDPClient(t, f.Root()).requireFails(t, "ERRCONNECT_CONNECT_TRANSPORT_FAILED", f.addr)
	require.Contains(t, f.Log(), "in xrdp with crypt_level=none")
}

// Under policy optional a client without TLS has its session, if its password may go over the wire.
func TestRDPOptional(t *testing.T) {
	t.Parallel()
	server := startXrdp(t, xrdpPlain)
	r := startRoutes(t, []string{rdpHost}, map[string]string{
		"optional": "starttls rdp " + rdpHost + " {\npolicy optional\n}\nproxy " + server,
		"password": "starttls rdp " + rdpHost + " {\npolicy optional\nallow_plaintext_auth\n}\nproxy " + server,
	})
	c := newRDPClient(t, r.Root())
	c.requireConnects(t, r.addr["optional"], "/sec:tls")
	c.requireFails(t, rdpNeedsTLS, r.addr["optional"], "/sec:rdp")
	c.requireConnects(t, r.addr["password"], "/sec:tls")
	c.requireConnects(t, r.addr["password"], "/sec:rdp")
}

// A client without TLS reaches a server that demands it, and one with TLS does so over two connections.
func TestRDPUpstream(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	demanding, plain := startXrdpTLS(t, ca), startXrdp(t, xrdpPlain)
	tap := startTap(t, demanding)
	r := startRoutes(t, []string{rdpHost}, map[string]string{
		"upstream": upgradeUpstream("rdp", demanding, upHost, ca),
		"both":     "starttls rdp " + rdpHost + "\n" + upgradeUpstream("rdp", tap.addr, upHost, ca),
		"without":  "starttls rdp " + rdpHost + "\nproxy " + demanding,
		"other":    upgradeUpstream("rdp", demanding, "other.example.com", ca),
		"none":     upgradeUpstream("rdp", plain, upHost, ca),
		"nla":      upgradeUpstream("rdp", startShadow(t), upHost, ca),
		"optional": upgradeUpstream("rdp", plain, upHost, ca, "policy optional"),
	})
	c := newRDPClient(t, r.Root())
	c.requireGreeter(t, r.addr["both"])
	require.Contains(t, tap.up.String(), "Cookie: mstshash=alice\r\n\x01\x00\x08\x00\x01\x00\x00\x00", "the cookie, and PROTOCOL_SSL alone")
	c.requireConnects(t, r.addr["upstream"], "/sec:rdp")
	c.requireConnects(t, r.addr["upstream"]) // it would have liked TLS
	c.requireConnects(t, r.addr["optional"], "/sec:rdp")
	c.requireFails(t, rdpNoAgreement, r.addr["upstream"], "/sec:tls")
	c.requireFails(t, "mcs_recv_connect_response failure", r.addr["without"])
	for _, way := range []string{"other", "none", "nla"} {
		c.requireFails(t, rdpDisconnected, r.addr[way], "/sec:rdp")
	}
	for _, line := range []string{"certificate is valid for up.example.com, not other.example.com", "server does not offer TLS", "failure code 5"} {
		require.Contains(t, r.Log(), line)
	}
}

// The certificate is the server's where TLS is passed through. With caddy-l4's matcher and its proxy alone, so is the
// negotiation, and Network Level Authentication with it, which no terminator can be in the middle of.
func TestRDPPassesThrough(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	addr, demanding, shadow := freeAddr(t), startXrdpTLS(t, ca), startShadow(t)
	nla := freeAddr(t)
	f := startCaddy(t, fmt.Sprintf(`%s {
		route {
			starttls rdp {
				passthrough
			}
			starttls_upstream rdp {
				passthrough
			}
			proxy %s
		}
	}
	%s {
		@rdp rdp
		route @rdp {
			proxy %s
		}
	}`, addr, demanding, nla, shadow), nil, addr, nla)
	c := newRDPClient(t, ca.file)
	c.requireConnects(t, addr, "/cert:deny,name:"+upHost)
	c.requireFails(t, rdpWrongName, addr)
	c.trusting(f.Root()).requireFails(t, rdpWrongAuthority, addr, "/cert:deny,name:"+upHost)
	c.requireConnects(t, nla, "/sec:nla", "/cert:ignore")
	c.requireFails(t, "ERRCONNECT_CONNECT_TRANSPORT_FAILED", nla, "/sec:nla", "/cert:ignore", "/p:wrong")
}

// caddy-l4's own matcher, which is called rdp, chooses by the cookie in front of starttls.
func TestRDPMatcher(t *testing.T) {
	t.Parallel()
	server := startXrdp(t, xrdpPlain)
	alice, others := startTap(t, server), startTap(t, server)
	addr := freeAddr(t)
	f := startCaddy(t, fmt.Sprintf(`%[1]s {
		@alice rdp {
			cookie_hash alice
		}
		route @alice {
			starttls rdp %[2]s
			proxy %[3]s
		}
		@rdp rdp
		route @rdp {
			starttls rdp %[2]s
			proxy %[4]s
		}
	}`, addr, rdpHost, alice.addr, others.addr), []string{rdpHost}, addr)
	c := newRDPClient(t, f.Root())
	c.requireConnects(t, addr)
	require.Contains(t, alice.up.String(), "Cookie: mstshash=alice\r\n")
	require.Empty(t, others.up.String())
	c.named("bob").requireConnects(t, addr)
	require.Contains(t, others.up.String(), "Cookie: mstshash=bob\r\n")
	require.NotContains(t, alice.up.String(), "bob\r\n")
}

// The example's ports: TLS that ends here, TLS on either side, and Network Level Authentication.
func TestExampleRDP(t *testing.T) {
	t.Parallel()
	const host = "desktop.example.com"
	ca := newAuthority(t)
	ends, both, nla := freeAddr(t), freeAddr(t), freeAddr(t)
	shadow := startShadow(t)
	c := startExample(t, "rdp", "", map[string]string{
		":3389": ends, ":3390": both, ":3391": nla,
		"127.0.0.1:13389": startXrdp(t, xrdpPlain), "10.0.0.1:3389": startXrdpTLS(t, ca), "10.0.0.2:3389": shadow, "10.0.0.3:3389": shadow,
		"server.example.com": upHost + "\ntls_trust_pool file " + ca.file,
	}, []string{host}, ends, both, nla)
	client := newRDPClient(t, c.Root())
	client.requireConnects(t, ends, "/cert:deny,name:"+host)
	client.requireConnects(t, both, "/cert:deny,name:"+host)
	client.requireConnects(t, nla, "/sec:nla", "/cert:ignore")
}

// The probe verifies a server's certificate, and tells one that has no TLS, or wants more.
func TestRDPProbe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	status, r := probeJSON(t, "rdp", startXrdpTLS(t, ca), "--ca", ca.file, "--server-name", upHost)
	require.Zero(t, status, "%+v", r)
	require.Equal(t, "verified", r.Outcome)
	for backend, outcome := range map[string]string{startXrdp(t, xrdpPlain): "not offered", startShadow(t): "refused"} {
		status, r = probeJSON(t, "rdp", backend)
		require.NotZero(t, status, "%+v", r)
		require.Equal(t, outcome, r.Outcome)
	}
}
