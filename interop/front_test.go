package interop

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// front is a Caddy that upgrades one protocol on one address.
type front struct {
	*caddyServer
	proto string
	host  string // the first hostname, and so the default certificate
	addr  string
}

// startFront runs Caddy in front of a backend. The options are lines for the
// handler's block.
func startFront(t testing.TB, proto string, hosts []string, backend string, options ...string) *front {
	t.Helper()
	f := &front{proto: proto, host: hosts[0], addr: freeAddr(t)}
	config := fmt.Sprintf(`%s {
		route {
			starttls %s %s {
				%s
			}
			proxy %s
		}
	}`, f.addr, proto, strings.Join(hosts, " "), strings.Join(options, "\n"), backend)
	f.caddyServer = startCaddy(t, config, hosts, f.addr)
	return f
}

// sClient runs openssl s_client against the front, with further options. It
// verifies the certificate of the front's first hostname.
func (f *front) sClient(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	need(t, "openssl")
	args = append([]string{
		"s_client", "-starttls", f.proto, "-connect", f.addr, "-name", f.host,
		"-verify_hostname", f.host, "-verify_return_error", "-CAfile", f.Root(),
	}, args...)
	return run(t, clientTimeout, stdin, "openssl", args...)
}

// requireUpgrades has the two universal test clients upgrade and verify: openssl,
// with and without SNI, and gnutls-cli. To XMPP the latter says that it looks for
// localhost, which therefore must be one of the front's hostnames.
func (f *front) requireUpgrades(t *testing.T) {
	t.Helper()
	for name, sni := range map[string][]string{
		"openssl":             {"-brief", "-servername", f.host},
		"openssl without SNI": {"-brief", "-noservername"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := f.sClient(t, "", sni...)
			require.NoError(t, err, out)
			require.Contains(t, out, "Verification: OK")
			require.Contains(t, out, "Verified peername: "+f.host)
		})
	}
	t.Run("gnutls-cli", func(t *testing.T) {
		need(t, "gnutls-cli")
		out, err := run(t, clientTimeout, "", "gnutls-cli", "--starttls-proto", f.proto,
			"--x509cafile", f.Root(), "--sni-hostname", f.host, "--verify-hostname", f.host,
			"--port", port(t, f.addr), "localhost")
		require.NoError(t, err, out)
		require.Contains(t, out, "The certificate is trusted.")
		require.Contains(t, out, "Handshake was completed")
	})
}

// requireALPN offers the protocol's own id, unless it has none, and a foreign one,
// which a browser could be made to speak to us.
func (f *front) requireALPN(t testing.TB, own string) {
	t.Helper()
	if own != "" {
		out, err := f.sClient(t, "", "-alpn", own)
		require.NoError(t, err, out)
		require.Contains(t, out, "ALPN protocol: "+own)
	}
	out, err := f.sClient(t, "")
	require.NoError(t, err, out)
	require.Contains(t, out, "No ALPN negotiated")
	out, err = f.sClient(t, "", "-alpn", "http/1.1")
	require.Error(t, err, out)
	require.Contains(t, out, "no application protocol")
}

// requireResumption keeps a session and comes back with it. TLS 1.3 hands out its
// tickets after the handshake, so openssl must have something to read meanwhile:
// the answer to question.
func (f *front) requireResumption(t *testing.T, question string) {
	t.Helper()
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		session := filepath.Join(t.TempDir(), "session")
		out, err := f.sClient(t, question, version, "-nocommands", "-ign_eof", "-sess_out", session)
		require.NoError(t, err, out)
		require.Contains(t, out, "New, TLSv1.")
		require.FileExists(t, session)
		out, err = f.sClient(t, question, version, "-nocommands", "-ign_eof", "-sess_in", session)
		require.NoError(t, err, out)
		require.Contains(t, out, "Reused, TLSv1.")
	}
}

// plainReply sends bytes in plaintext and returns all that comes back until the server
// closes, which it must do soon.
func plainReply(t testing.TB, addr, send string) string {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = conn.Write([]byte(send))
	require.NoError(t, err)
	return readRest(t, conn)
}

// readRest reads until the server closes. A reset counts as closing.
func readRest(t testing.TB, conn net.Conn) string {
	t.Helper()
	var reply strings.Builder
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		reply.Write(buffer[:n])
		if err == nil {
			continue
		}
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection stayed open: %q", reply.String())
		return reply.String()
	}
}

// debianPython runs a script with the Python for which Debian packages modules. It
// need not be the first one in the path.
func debianPython(t testing.TB, module, script string, args ...string) (string, error) {
	t.Helper()
	const python = "/usr/bin/python3"
	need(t, python)
	if _, err := run(t, clientTimeout, "", python, "-c", "import "+module); err != nil {
		unavailable(t, "Python's %s is not installed", module)
	}
	return run(t, clientTimeout, "", python, append([]string{script}, args...)...)
}
