package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cupsHost is the name of the print server. libcups calls a loopback address localhost, so
// that is a name of it, too.
const cupsHost = "print.example.com"

// A cups is a print server with one queue, whose jobs stay in its spool.
type cups struct{ addr, dir string }

const cupsdConf = `Listen %s
ServerName %s
ServerAlias *
DefaultEncryption %s
LogLevel debug
PreserveJobFiles Yes
WebInterface No
<Location />
	Order allow,deny
	Allow all
</Location>
<Policy default>
	<Limit All>
		Order deny,allow
	</Limit>
</Policy>
`

// startCUPS runs a cupsd that has an upgrade of its own. It has no other name but localhost for
// those who come from a loopback address.
func startCUPS(t testing.TB, ca *authority, encryption string) *cups {
	t.Helper()
	need(t, "cupsd", "lp", "lpadmin", "lpstat")
	needRoot(t)
	s := &cups{freeAddr(t), serverDir(t)}
	for _, name := range []string{"cache", "state", "spool", "ssl", "log"} {
		require.NoError(t, os.Mkdir(filepath.Join(s.dir, name), 0o755))
	}
	cert, key := ca.issue(t, "localhost")
	for from, to := range map[string]string{cert: ".crt", key: ".key"} {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		writeFile(t, filepath.Join(s.dir, "ssl"), "localhost"+to, string(text))
	}
	config := writeFile(t, s.dir, "cupsd.conf", fmt.Sprintf(cupsdConf, s.addr, "localhost", encryption))
	files := writeFile(t, s.dir, "cups-files.conf", strings.NewReplacer("DIR", s.dir).Replace(
		"ServerRoot DIR\nCacheDir DIR/cache\nStateDir DIR/state\nRequestRoot DIR/spool\nTempDir DIR/spool\n"+
			"ErrorLog DIR/log/error\nAccessLog DIR/log/access\nPageLog DIR/log/page\nFileDevice Yes\nServerKeychain DIR/ssl\nCreateSelfSignedCerts no\n"))
	startProcess(t, "cupsd", "-f", "-c", config, "-s", files)
	waitTCP(t, s.addr)
	out, err := run(t, clientTimeout, "", "lpadmin", "-h", s.addr, "-p", "test", "-E", "-v", "file:/dev/null", "-m", "raw")
	require.NoError(t, err, out)
	return s
}

// requirePrints has lp print a text by way of an address, and finds it in the spool.
func (s *cups) requirePrints(t *testing.T, addr, text string, options ...string) {
	t.Helper()
	file := writeFile(t, t.TempDir(), "text", text)
	out, err := run(t, clientTimeout, "", "lp", append(options, "-h", addr, "-d", "test", file)...)
	require.NoError(t, err, out)
	require.Regexp(t, `^request id is test-\d+ `, out)
	eventually(t, clientTimeout, "the text in the spool", func() bool {
		documents, err := filepath.Glob(filepath.Join(s.dir, "spool", "d*"))
		require.NoError(t, err)
		return slices.ContainsFunc(documents, func(document string) bool {
			got, err := os.ReadFile(document)
			return err == nil && string(got) == text
		})
	})
}

// CUPS' own clients upgrade, and use a server that does not know of it. Without -E they are
// told to, and do it then.
func TestCUPSClients(t *testing.T) {
	t.Parallel()
	s := startCUPS(t, newAuthority(t), "Never")
	f := startFront(t, "http", []string{cupsHost, "localhost"}, s.addr)
	for name, encrypt := range map[string][]string{"-E": {"-E"}, "after 426": nil} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, clientTimeout, "", "lpstat", append(encrypt, "-h", f.addr, "-p")...)
			require.NoError(t, err, out)
			require.Contains(t, out, "printer test is idle")
			s.requirePrints(t, f.addr, "printed by "+name+strings.Repeat(" and more", 100_000), encrypt...)
		})
	}
	require.Contains(t, f.Log(), "negotiated upgrade")
	access, err := os.ReadFile(filepath.Join(s.dir, "log", "error"))
	require.NoError(t, err)
	require.NotContains(t, string(access), "OPTIONS", "the request for the upgrade is not the backend's")
}

// A client of CUPS' that does not encrypt, and one that is not CUPS', use a cupsd that upgrades.
func TestCUPSUpstream(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	ca := newAuthority(t)
	s := startCUPS(t, ca, "Required")
	r := startRoutes(t, []string{cupsHost, "localhost"}, map[string]string{
		"plain":    upgradeUpstream("http", s.addr, "localhost", ca),
		"both":     "starttls http " + cupsHost + " localhost\n" + upgradeUpstream("http", s.addr, "localhost", ca),
		"other":    upgradeUpstream("http", s.addr, "localhost", newAuthority(t)),
		"optional": upgradeUpstream("http", s.addr, "localhost", ca, "policy optional"),
	})
	s.requirePrints(t, r.addr["plain"], "in plaintext"+strings.Repeat(" and more", 100_000))
	s.requirePrints(t, r.addr["both"], "upgraded twice", "-E")
	s.requirePrints(t, r.addr["optional"], "upgraded all the same")
	require.Equal(t, 0, strings.Count(r.Log(), "staying in plaintext"))
	out, err := run(t, clientTimeout, "", "curl", "-sS", "--noproxy", "*", "-i", "http://"+r.addr["other"]+"/")
	require.NoError(t, err, out)
	require.Regexp(t, `(?s)^HTTP/1\.1 502 Bad Gateway\r\n.*\r\n\r\nUpstream certificate could not be verified\r\n$`, out)
}
