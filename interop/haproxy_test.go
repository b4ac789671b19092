package interop

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// haproxyConf has HAProxy tell what it learned from the header, to its log and to
// HTTP clients. Neither port takes connections without one.
const haproxyConf = `
global
	log stdout format raw local0
defaults
	log global
	timeout connect 10s
	timeout client 30s
	timeout server 30s
frontend mail
	mode tcp
	bind %[1]s accept-proxy
	log-format "mail from %%[src] to %%[dst]:%%[dst_port], authority %%[fc_pp_authority]"
	default_backend mail
backend mail
	mode tcp
	server mail %[2]s send-proxy-v2
frontend web
	mode http
	bind %[3]s accept-proxy
	http-request return content-type text/plain lf-string "from %%[src] to %%[dst]:%%[dst_port], authority %%[fc_pp_authority]"
`

// haproxy is a running HAProxy, with a port for a mail server behind it.
type haproxy struct {
	*process
	mail, web string
}

func startHAProxy(t testing.TB, mailBackend string) *haproxy {
	t.Helper()
	need(t, "haproxy")
	h := &haproxy{mail: freeAddr(t), web: freeAddr(t)}
	config := writeFile(t, t.TempDir(), "haproxy.cfg", fmt.Sprintf(haproxyConf, h.mail, mailBackend, h.web))
	h.process = startProcess(t, "haproxy", "-db", "-f", config)
	waitTCP(t, h.mail)
	waitTCP(t, h.web)
	return h
}

// TestPublicMXBehindHAProxy has HAProxy between Caddy and Postfix. It learns who is
// calling from our header, logs that, and passes it on in one of its own.
func TestPublicMXBehindHAProxy(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	mx := &publicMX{dovecot: startDovecot(t, tlsOff)}
	var backend string
	backend, mx.log = startPostfixWith(t, mx.dovecot, mxSettings, "")
	h := startHAProxy(t, backend)
	for i, test := range []struct {
		name, version, authority string
		args                     []string
	}{
		{"v2", "v2", "mx.example.com", []string{"--tls", "--tls-sni", "mx.example.com"}},
		{"v2, no SNI", "v2", "-", []string{"--tls"}},
		{"v2, in plaintext", "v2", "-", nil},
		{"v1", "v1", "-", []string{"--tls", "--tls-sni", "mx.example.com"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			mx.front = startFrontBefore(t, "smtp", []string{"mx.example.com"},
				"send_proxy_protocol "+test.version+"\nproxy "+h.mail, "policy optional")
			helo := fmt.Sprintf("client%d.example", i)
			out, err := mx.swaks(t, append(test.args, "--helo", helo)...)
			require.NoError(t, err, out)
			mx.dovecot.delivered(t, i+1)
			mx.dovecot.requireReceived(t, "from "+helo+` \(unknown \[127\.0\.0\.9\]\)`)
			requireLogged(t, h.LogFile(), fmt.Sprintf(`(?m)^mail from 127\.0\.0\.9 to %s, authority %s$`, mx.addr, test.authority))
		})
	}
	requireLogged(t, mx.log, `: client=unknown\[127\.0\.0\.9\]`)
}

// toldCaddy is a Caddy whose web site tells what it learned from the header, which it
// takes from whom it knows and demands of nobody.
const toldCaddy = `{
	admin off
	default_bind 127.0.0.1
	servers 127.0.0.1:%[1]s {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/32
			}
		}
	}
}
http://:%[1]s {
	respond "from {http.request.remote.host} to {http.request.local.host}:{http.request.local.port}"
}
`

// TestWebServersLearnOfTheClient has web servers behind Caddy, with the tls handler in
// front of send_proxy_protocol. Caddy itself does not tell of the server's name.
func TestWebServersLearnOfTheClient(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	h := startHAProxy(t, freeAddr(t))
	site := freeAddr(t)
	startCaddyfile(t, func(string) string { return fmt.Sprintf(toldCaddy, port(t, site)) }, nil, site)
	for _, test := range []struct{ name, handlers, more string }{
		{"HAProxy", "send_proxy_protocol\nproxy " + h.web, ", authority " + siteHost},
		{"HAProxy, v1", "send_proxy_protocol v1\nproxy " + h.web, ", authority "},
		{"HAProxy, caddy-l4's own", "proxy {\nproxy_protocol v2\nupstream " + h.web + "\n}", ", authority "},
		{"Caddy", "send_proxy_protocol\nproxy " + site, ""},
		{"Caddy, v1", "send_proxy_protocol v1\nproxy " + site, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			// The certificate is there because another port's handler names the host.
			addr, other := freeAddr(t), freeAddr(t)
			c := startCaddy(t, fmt.Sprintf("%s {\nroute {\ntls\n%s\n}\n}\n%s {\nroute {\nstarttls line %s\n}\n}",
				addr, test.handlers, other, siteHost), []string{siteHost}, addr)
			where := siteHost + ":" + port(t, addr)
			out, err := run(t, clientTimeout, "", "curl", "-sS", "--http1.1", "--noproxy", "*", "--cacert", c.Root(),
				"--interface", proxyClient, "--resolve", where+":127.0.0.1", "https://"+where+"/")
			require.NoError(t, err, out)
			require.Equal(t, fmt.Sprintf("from %s to %s", proxyClient, addr)+test.more, out)
		})
	}
}

// TestHAProxyDemandsTheHeader shows that the addresses above are those of the header.
func TestHAProxyDemandsTheHeader(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	h := startHAProxy(t, freeAddr(t))
	out, err := run(t, clientTimeout, "", "curl", "-sS", "--noproxy", "*", "http://"+h.web+"/")
	require.Error(t, err, out)
	require.NotContains(t, out, "authority")
}
