package interop

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// matrixStarts run the servers of a protocol. What has no TLS from the first byte of its own has
// somebody in front who terminates it.
var matrixStarts = map[string]func(testing.TB, *authority) matrixServer{
	"connect": startConnectMatrix, "ftp": startFTPMatrix, "http": startHTTPMatrix, "nntp": startNNTPMatrix, "telnet": startTelnetMatrix,
	"xmpp-server": startXMPPServerMatrix,
}

// matrixRefusals are what clients say, and hear if the server does not offer the upgrade.
var matrixRefusals = map[string]struct{ send, want string }{
	"ftp":         {"NOOP\r\n", `\A421 .*\r\n\z`},
	"http":        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", `\AHTTP/1\.1 502 Bad Gateway\r\n`},
	"telnet":      {"a\r\n", `\AUpstream does not offer TLS\r\n\z`},
	"xmpp-server": {xmppServerHeader, `<stream:error>(?s:.*)</stream:error></stream:stream>`},
}

// matrixFile is in the listing of both FTP servers.
const matrixFile = "matrix-file"

// startFTPMatrix runs two ProFTPDs. Where TLS is terminated in front of one, its data connections are in
// plaintext.
func startFTPMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	plain, demanding := startProFTPD(t, "127.0.0.1", nil), startProFTPD(t, "127.0.0.1", ca)
	for _, s := range []*ftpServer{plain, demanding} {
		require.NoError(t, os.WriteFile(filepath.Join(s.files, matrixFile), nil, 0o600))
	}
	return matrixServer{
		"plain": plain.addr, "tls": startTerminator(t, ca, plain.addr), "starttls": demanding.addr, "optional": plain.addr,
	}
}

// startHTTPMatrix runs two cupsds. Each has an upgrade for those who ask, so a web site is the one that
// has none.
func startHTTPMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	plain, demanding := startCUPS(t, ca, "Never"), startCUPS(t, ca, "Required")
	return matrixServer{
		"plain": plain.addr, "tls": startTerminator(t, ca, plain.addr), "starttls": demanding.addr, "optional": startSite(t),
	}
}

// startSite runs a web site without TLS.
func startSite(t testing.TB) (addr string) {
	t.Helper()
	addr = freeAddr(t)
	startCaddyfile(t, func(storage string) string {
		return fmt.Sprintf("{\n%s\n}\n:%s {\nbind 127.0.0.1\nrespond \"a site\"\n}\n", testOptions(storage), port(t, addr))
	}, nil, addr)
	return addr
}

// startNNTPMatrix runs two INNs. One without a certificate refuses the upgrade, so it is not one that has none.
func startNNTPMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	plain, upgrading := startINN(t, "").reader, startINN(t, withTLS(t, ca)).reader
	return matrixServer{"plain": plain, "tls": startTerminator(t, ca, plain), "starttls": upgrading}
}

// startTelnetMatrix runs telnetd, which has no upgrade: that is done in front of it. It waits for answers to
// what it asks first, so nothing shows that it has none; a program that just prints does show it.
func startTelnetMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	plain := startTelnetd(t)
	certificate, err := tls.LoadX509KeyPair(ca.issue(t, upHost))
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	config := &upgrade.Config{TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	return matrixServer{
		"plain": plain, "tls": startTerminator(t, ca, plain),
		"starttls": tapOn(t, upgrade.NewListener(ln, upgrade.Telnet, config), plain).addr, "optional": startSocat(t, greeter(t)),
	}
}

// startXMPPServerMatrix runs two Prosodys that other servers reach. A server that has asked for the upgrade
// cannot stay in plaintext: its key for dialback belongs to another stream.
func startXMPPServerMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	plain, implicit, demanding := freeAddr(t), freeAddr(t), freeAddr(t)
	const settings = `
s2s_ports = { %s }
s2s_direct_tls_ports = {}
s2s_secure_auth = false
s2s_require_encryption = false
modules_enabled = { "saslauth", "dialback" }
`
	startProsodyWith(t, fmt.Sprintf(settings, port(t, plain)))
	cert, key := ca.issue(t, xmppHost)
	startProsodyWith(t, fmt.Sprintf(settings+`
modules_enabled = { "saslauth", "dialback", "tls" }
s2s_require_encryption = true
ssl = { certificate = %q, key = %q }
s2s_direct_tls_ports = { %s }
s2s_direct_tls_ssl = { certificate = %[2]q, key = %[3]q }`, port(t, demanding), cert, key, port(t, implicit)))
	for _, addr := range []string{plain, implicit, demanding} {
		waitTCP(t, addr)
	}
	return matrixServer{
		"plain": plain, "tls": implicit, "starttls": demanding, matrixRefused: plain,
		matrixOptions: "hostname peer.example.com",
	}
}

// startConnectMatrix runs a web site, one with TLS, and a squid that leads there. There is no policy optional
// for a tunnel.
func startConnectMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	site := startSite(t)
	origin := startTerminator(t, ca, site)
	squid, _ := startSquid(t, origin)
	return matrixServer{
		"plain": site, "tls": origin, "starttls": squid,
		matrixOptions: "target " + net.JoinHostPort("localhost", port(t, origin)) + "\nproxy_auth me:sesame",
	}
}
