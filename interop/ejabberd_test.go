package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// ejabberdConf has the listeners of the example's README, and one for clients that come without Caddy.
const ejabberdConf = `
hosts:
  - %[1]s
loglevel: info
listen:
  -
    port: %[2]s
    ip: "127.0.0.1"
    module: ejabberd_c2s
    use_proxy_protocol: true
  -
    port: %[3]s
    ip: "127.0.0.1"
    module: ejabberd_s2s_in
    use_proxy_protocol: true
  -
    port: %[4]s
    ip: "127.0.0.1"
    module: ejabberd_c2s
s2s_use_starttls: optional
auth_method: internal
acl:
  local:
    user_regexp: ""
access_rules:
  local:
    allow: local
modules:
  mod_roster: {}
  mod_s2s_dialback: {}
`

// registers adds the user when ejabberd is there.
const registers = `ok = ejabberd_auth:try_register(<<"` + xmppUser + `">>, <<"%s">>, <<"` + xmppPassword + `">>), io:format("registered~n").`

// startEjabberd runs ejabberd as a node that no other one can find, and so without epmd. behindCaddy is where it waits for
// clients with a header of the PROXY protocol.
func startEjabberd(t testing.TB, domain string) (f *federated, behindCaddy string) {
	t.Helper()
	const libraries = "/usr/lib/x86_64-linux-gnu"
	need(t, "erl", "ejabberdctl")
	f, behindCaddy = &federated{domain: domain, c2s: freeAddr(t), s2s: freeAddr(t)}, freeAddr(t)
	dir := serverDir(t)
	config := writeFile(t, dir, "ejabberd.yml", fmt.Sprintf(ejabberdConf, domain, port(t, behindCaddy), port(t, f.s2s), port(t, f.c2s)))
	cmd := exec.Command("erl", "-noinput", "-mnesia", "dir", fmt.Sprintf("%q", filepath.Join(dir, "db")), "-s", "ejabberd",
		"-eval", fmt.Sprintf("{ok, _} = application:ensure_all_started(ejabberd), "+registers, domain))
	cmd.Env = append(os.Environ(), "HOME="+dir, "ERL_LIBS="+libraries, "EJABBERD_CONFIG_PATH="+config, "EJABBERD_LOG_PATH="+filepath.Join(dir, "log"))
	f.process = startCmd(t, cmd)
	for _, addr := range []string{behindCaddy, f.s2s, f.c2s} {
		waitTCP(t, addr)
	}
	requireLogged(t, f.LogFile(), "registered")
	return f, behindCaddy
}

// TestExampleEjabberd has a client that upgrades, and one with TLS from the first byte. ejabberd learns who they are.
func TestExampleEjabberd(t *testing.T) {
	t.Parallel()
	server, behindCaddy := startEjabberd(t, xmppHost)
	addr, direct, s2s := freeAddr(t), freeAddr(t), freeAddr(t)
	c := startExample(t, "ejabberd", "", map[string]string{
		":5222": addr, ":5223": direct, ":5269": s2s, "example.org": xmppHost, "127.0.0.1:15222": behindCaddy, "127.0.0.1:15269": server.s2s,
	}, []string{xmppHost}, addr, direct, s2s)
	f := &front{caddyServer: c, proto: "xmpp", host: xmppHost, addr: addr}
	f.requireXMPPSession(t)
	f.requireGoSendXMPP(t)
	require.Regexp(t, `Accepted c2s .* authentication for alice@xmpp\.example\.com by .* from 127\.0\.0\.1`, server.Log())
	out, err := run(t, clientTimeout, xmppHeader+"</stream:stream>", "openssl", "s_client", "-quiet", "-nocommands", "-ign_eof", "-connect", direct,
		"-bind", proxyClient, "-alpn", "xmpp-client", "-servername", xmppHost, "-verify_hostname", xmppHost, "-verify_return_error", "-CAfile", c.Root())
	require.NoError(t, err, out)
	require.Contains(t, out, "<mechanism>PLAIN</mechanism>")
	require.NotContains(t, out, "starttls")
	requireLogged(t, server.LogFile(), `Accepted proxied connection 127\.0\.0\.9:`)
}

// TestExampleEjabberdFederates has it exchange messages with a Prosody that is behind Caddy, too.
func TestExampleEjabberdFederates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	a := startFederated(t, 6, ownTLS(t, ca, domainOf(6)))
	b, behindCaddy := startEjabberd(t, domainOf(7))
	c := startExample(t, "ejabberd", "starttls {\ngrace_period 0\n}", map[string]string{
		":5222": freeAddr(t), ":5223": freeAddr(t), ":5269": b.public(), "example.org": b.domain,
		"127.0.0.1:15222": behindCaddy, "127.0.0.1:15269": b.s2s,
	}, []string{b.domain}, b.public())
	startCaddyWith(t, noGrace, fmt.Sprintf("%s {\nroute {\nstarttls xmpp-server %s\nproxy %s\n}\n}\n", a.public(), a.domain, a.s2s), []string{a.domain}, a.public())
	requireFederation(t, a, b)
	require.Contains(t, c.Log(), "negotiated upgrade")
}
