package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// originHost is the name that clients ask a proxy for.
const originHost = "origin.example.com"

// curl and openssl ask for a tunnel, as they ask any proxy, and verify who is at its end.
func TestConnectClients(t *testing.T) {
	t.Parallel()
	need(t, "curl", "openssl")
	web, site := freeAddr(t), freeAddr(t)
	c := startCaddyfile(t, func(storage string) string {
		return fmt.Sprintf("{\n%s\nlayer4 {\n%s {\nroute {\nstarttls connect %s\nproxy %s\n}\n}\n}\n}\nhttp://%s {\nbind 127.0.0.1\nrespond \"at the end of the tunnel: {http.request.host}\"\n}\n",
			testOptions(storage), web, originHost, site, ":"+port(t, site))
	}, []string{originHost}, web, site)
	curl := func(t *testing.T, url string) (string, error) {
		return run(t, clientTimeout, "", "curl", "-sSv", "--noproxy", "", "--proxy", "http://"+web, "--proxy-user", "me:sesame", "--cacert", c.Root(), url)
	}
	t.Run("curl", func(t *testing.T) {
		out, err := curl(t, "https://"+originHost+"/")
		require.NoError(t, err, out)
		require.Contains(t, out, "at the end of the tunnel: "+originHost)
		require.Contains(t, out, "SSL certificate verify ok")
	})
	t.Run("curl, another target", func(t *testing.T) {
		out, err := curl(t, "https://evil.example.com/")
		require.Error(t, err)
		require.Contains(t, out, "403")
	})
	t.Run("curl, no tunnel", func(t *testing.T) {
		out, err := curl(t, "http://"+originHost+"/")
		require.NoError(t, err, out)
		require.Contains(t, out, "405 Method Not Allowed")
	})
	t.Run("openssl", func(t *testing.T) {
		out, err := run(t, clientTimeout, "", "openssl", "s_client", "-brief", "-proxy", web, "-connect", originHost+":443",
			"-noservername", "-verify_hostname", originHost, "-verify_return_error", "-CAfile", c.Root())
		require.NoError(t, err, out)
		require.Contains(t, out, "Verified peername: "+originHost)
	})
	require.NotContains(t, c.Log(), "sesame")
	require.NotContains(t, c.Log(), "bWU6c2VzYW1l")
}

// A tunnel whose backend is down ends inside TLS, behind 200 and a certificate that is verified,
// without a word and without a reset. The log has the reason.
func TestConnectBackendDown(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	down := freeAddr(t)
	f := startFront(t, "connect", []string{originHost}, down)
	out, err := run(t, clientTimeout, "", "curl", "-sSv", "--noproxy", "", "--http1.1", "--proxy", "http://"+f.addr, "--cacert", f.Root(), "https://"+originHost+"/")
	require.ErrorContains(t, err, "exit status 52", out)
	require.Contains(t, out, "HTTP/1.1 200 Connection established")
	require.Contains(t, out, "SSL certificate verify ok")
	require.Contains(t, out, "Empty reply from server")
	require.Regexp(t, `"level":"error".*`+down+`.*connection refused`, f.Log())
}

const squidConf = `http_port %[1]s
pid_filename none
cache deny all
cache_log %[2]s/cache.log
access_log stdio:%[2]s/access.log
coredump_dir %[2]s
visible_hostname squid.example.com
auth_param basic program /usr/lib/squid/basic_ncsa_auth %[2]s/passwords
acl known proxy_auth REQUIRED
acl SSL_ports port %[3]s
http_access deny CONNECT !SSL_ports
http_access allow known
http_access deny all
shutdown_lifetime 1 second
`

// startSquid runs a proxy that knows one user, and has tunnels to one port.
func startSquid(t testing.TB, target string) (addr, accessLog string) {
	t.Helper()
	need(t, "squid", "openssl")
	needRoot(t)
	dir := serverDir(t)
	hash, err := run(t, clientTimeout, "", "openssl", "passwd", "-1", "sesame")
	require.NoError(t, err, hash)
	writeFile(t, dir, "passwords", "me:"+hash)
	require.NoError(t, os.Chmod(filepath.Join(dir, "passwords"), 0o644)) // it is the user proxy that reads it
	require.NoError(t, os.Chmod(dir, 0o777))
	addr = freeAddr(t)
	startProcess(t, "squid", "-N", "-f", writeFile(t, dir, "squid.conf", fmt.Sprintf(squidConf, addr, dir, port(t, target))))
	waitTCP(t, addr)
	return addr, filepath.Join(dir, "access.log")
}

// A client in plaintext reaches a server with TLS by way of a proxy.
func TestConnectUpstream(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ca := newAuthority(t)
	site := freeAddr(t)
	startCaddyfile(t, func(storage string) string {
		return fmt.Sprintf("{\n%s\n}\n:%s {\nbind 127.0.0.1\nrespond \"behind the proxy\"\n}\n", testOptions(storage), port(t, site))
	}, nil, site)
	origin := startTerminator(t, ca, site)
	squid, accessLog := startSquid(t, origin)
	up := func(lines ...string) string { return upgradeUpstream("connect", squid, upHost, ca, lines...) }
	target := "target " + net.JoinHostPort("localhost", port(t, origin))
	r := startRoutes(t, nil, map[string]string{
		"good":     up(target, "proxy_auth me:sesame"),
		"wrong":    up(target, "proxy_auth you:swordfish"),
		"none":     up(target),
		"not open": up("target localhost:22", "proxy_auth me:sesame"),
	})
	get := func(t *testing.T, name string) (string, error) {
		return run(t, clientTimeout, "", "curl", "-sS", "--noproxy", "*", "http://"+r.addr[name]+"/")
	}
	out, err := get(t, "good")
	require.NoError(t, err, out)
	require.Equal(t, "behind the proxy", out)
	for name, status := range map[string]string{"wrong": "407", "none": "407", "not open": "403"} {
		out, err := get(t, name)
		require.ErrorContains(t, err, "exit status 52", out) // the end, and not a word
		require.Contains(t, r.Log(), "server refused TLS: \\\"HTTP/1.1 "+status, name)
	}
	for _, secret := range []string{"sesame", "swordfish", "bWU6c2VzYW1l", "eW91OnN3b3JkZmlzaA=="} {
		require.NotContains(t, r.Log(), secret)
	}
	log, err := os.ReadFile(accessLog)
	require.NoError(t, err)
	require.Contains(t, string(log), "TCP_TUNNEL/200")
}
