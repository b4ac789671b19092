package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// tdsHost is the name that clients verify; FreeTDS verifies that of the host that it connects to.
const tdsHost = "db.example.com"

// The user of the server.
const (
	tdsUser     = "alice"
	tdsPassword = "open sesame"
)

// tdsTools has programs of a Go module: a server, which stands for Microsoft's, and a client.
var tdsTools = build{module: "testdata/tds", packages: []string{"."}}

func tdsTool(t testing.TB) string {
	t.Helper()
	dir, err := tdsTools.programs()
	if err != nil {
		unavailable(t, "%v", err)
	}
	return filepath.Join(dir, "tds")
}

// startTDS runs the server, which demands TLS if it has a certificate.
func startTDS(t testing.TB, certificate ...string) (server *process, addr string) {
	t.Helper()
	addr = freeAddr(t)
	server = startProcess(t, tdsTool(t), append([]string{"server", addr}, certificate...)...)
	waitTCP(t, addr)
	return server, addr
}

// goMSSQL asks with go-mssqldb, which goes by the end of a file's name.
func goMSSQL(t testing.TB, addr, encrypt, password, root, query string) (string, error) {
	t.Helper()
	if root != "" {
		text, err := os.ReadFile(root)
		require.NoError(t, err)
		root = writeFile(t, t.TempDir(), "root.pem", string(text))
	}
	return run(t, clientTimeout, "", tdsTool(t), "client", addr, encrypt, tdsUser, password, root, query)
}

// freeTDS asks with a program of FreeTDS, at localhost. Without a root it verifies nothing.
func freeTDS(t testing.TB, program, addr, encryption, password, root, query string) (string, error) {
	t.Helper()
	need(t, program)
	trust := ""
	if root != "" {
		trust = fmt.Sprintf("ca file = %s\n\tcheck certificate hostname = yes\n", root)
	}
	conf := writeFile(t, t.TempDir(), "freetds.conf", fmt.Sprintf(
		"[server]\n\thost = localhost\n\tport = %s\n\ttds version = 7.4\n\tclient charset = UTF-8\n\tencryption = %s\n\t%s", port(t, addr), encryption, trust))
	args := []string{"FREETDSCONF=" + conf, program, "-S", "server", "-U", tdsUser, "-P", password}
	if program == "bsqldb" {
		args = append(args, "-q")
	}
	return run(t, clientTimeout, query+"\ngo\nexit\n", "env", args...)
}

// Clients that insist on TLS, that would encrypt their login alone, and that are strict, have
// all of their session inside TLS, the certificate verified by name.
func TestTDS(t *testing.T) {
	server, addr := startTDS(t)
	f := startFront(t, "tds", []string{"localhost", tdsHost}, addr, "implicit_tls") // FreeTDS sends no SNI
	for _, encrypt := range []string{"true", "strict"} {
		t.Run("go-mssqldb "+encrypt, func(t *testing.T) {
			out, err := goMSSQL(t, f.addr, encrypt, tdsPassword, f.Root(), "SELECT TOP 20000 'grüße'")
			require.NoError(t, err, out)
			require.Equal(t, "20000 rows, the last of them \"grüße\"\n20000 rows, the last of them \"grüße\"\n", out)
			out, err = goMSSQL(t, f.addr, encrypt, "wrong", f.Root(), "SELECT 'x'")
			require.Error(t, err)
			require.Contains(t, out, "Login failed for user 'alice'")
		})
	}
	out, err := goMSSQL(t, f.addr, "false", tdsPassword, f.Root(), "SELECT 'x'")
	require.NoError(t, err, out)
	for _, encryption := range []string{"require", "request"} {
		for _, program := range []string{"tsql", "bsqldb"} {
			t.Run(program+" "+encryption, func(t *testing.T) {
				out, err := freeTDS(t, program, f.addr, encryption, tdsPassword, f.Root(), "SELECT 'hello'")
				require.NoError(t, err, out)
				require.Contains(t, out, "hello")
			})
		}
	}
	require.Regexp(t, `^(ENCRYPTION 0x2 true\n)+$`, server.Log())
}

// Clients without TLS are refused, and clients that do not trust the certificate do not log in.
func TestTDSRefuses(t *testing.T) {
	_, addr := startTDS(t)
	f := startFront(t, "tds", []string{tdsHost}, addr)
	other := newAuthority(t)
	out, err := goMSSQL(t, f.addr, "disable", tdsPassword, "", "SELECT 'x'")
	require.Error(t, err, out)
	out, err = goMSSQL(t, f.addr, "true", tdsPassword, other.file, "SELECT 'x'")
	require.Error(t, err)
	require.Contains(t, out, "certificate")
	out, err = freeTDS(t, "tsql", f.addr, "require", tdsPassword, other.file, "SELECT 'x'")
	require.Error(t, err, out)
	out, err = freeTDS(t, "tsql", f.addr, "require", tdsPassword, f.Root(), "SELECT 'x'")
	require.Error(t, err, "the certificate is not for localhost: %s", out)
}

// Where plaintext may be, clients without TLS are served.
func TestTDSInPlaintext(t *testing.T) {
	_, addr := startTDS(t)
	f := startFront(t, "tds", []string{tdsHost}, addr, "policy optional", "allow_plaintext_auth")
	for _, encrypt := range []string{"disable", "true"} {
		root := f.Root()
		if encrypt == "disable" {
			root = ""
		}
		out, err := goMSSQL(t, f.addr, encrypt, tdsPassword, root, "SELECT 'x'")
		require.NoError(t, err, out)
	}
	out, err := freeTDS(t, "tsql", f.addr, "off", tdsPassword, "", "SELECT 'hello'")
	require.NoError(t, err, out)
	require.Contains(t, out, "hello")
}

// A server that demands TLS serves clients without it through starttls_upstream, and those of
// starttls in front of that.
func TestTDSUpstream(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue(t, upHost)
	server, addr := startTDS(t, cert, key)
	up := fmt.Sprintf("starttls_upstream tds {\ntls_server_name %s\ntls_trust_pool file %s\n}\nproxy %s", upHost, ca.file, addr)
	plain, secure := freeAddr(t), freeAddr(t)
	caddy := startCaddy(t, fmt.Sprintf("%s {\nroute {\n%s\n}\n}\n%s {\nroute {\nstarttls tds %s\n%s\n}\n}\n", plain, up, secure, tdsHost, up), []string{tdsHost}, plain, secure)
	for encrypt, works := range map[string]bool{"disable": true, "false": true, "true": false} {
		out, err := goMSSQL(t, plain, encrypt, tdsPassword, "", "SELECT TOP 20000 'x'")
		if works {
			require.NoError(t, err, out)
			require.Contains(t, out, "20000 rows")
			continue
		}
		require.Error(t, err)
		require.Contains(t, out, "server does not support encryption")
	}
	out, err := freeTDS(t, "tsql", plain, "off", tdsPassword, "", "SELECT 'hello'")
	require.NoError(t, err, out)
	require.Contains(t, out, "hello")
	out, err = goMSSQL(t, secure, "true", tdsPassword, caddy.Root(), "SELECT 'x'")
	require.NoError(t, err, out)
	require.Regexp(t, `^(ENCRYPTION 0x1 true\n)+$`, server.Log())
}
