package library

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// host is the name in every server's certificate. It is not "localhost", to which
// smtp.PlainAuth would send a password in plaintext.
const host = "server.example.com"

const user, password = "alice", "open sesame"

// A pki is one certificate, its key, and a client's view of it.
type pki struct {
	cert, key []byte // PEM
	server    *tls.Config
	client    *upgrade.Config
}

// shared is the one of all tests.
var shared struct {
	sync.Once
	pki
}

func newPKI(t testing.TB) pki {
	t.Helper()
	shared.Do(func() {
		c := testkit.SelfSigned(t, host)
		shared.server = &tls.Config{Certificates: []tls.Certificate{*c}}
		shared.client = &upgrade.Config{TLS: &tls.Config{RootCAs: testkit.Trust(c), ServerName: host}, Hostname: "client.example.com"}
		shared.cert, shared.key = testkit.PEM(t, c)
	})
	return shared.pki
}

// within bounds what a test waits for.
func within(t testing.TB, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// freePort is for servers that do not tell the port that they have got.
func freePort(t testing.TB) (addr, port string) {
	t.Helper()
	addr = testkit.FreeAddress(t)
	return addr, testkit.Port(t, addr)
}

// unavailable skips a test, visibly, that needs what is not there. With
// INTEROP=required that is a failure.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("INTEROP") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// program finds a server, also where Debian keeps it out of the path.
func program(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range []string{"/usr/sbin/", "/usr/lib/postgresql/*/bin/"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	unavailable(t, "%s is not installed", name)
	return ""
}

func writeFile(t testing.TB, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	return path
}

// start runs a server until the end of the test, and waits until it accepts.
func start(t testing.TB, addr, name string, args ...string) {
	t.Helper()
	p := testkit.Start(t, exec.Command(name, args...))
	testkit.Eventually(t, testkit.StartTimeout, name+" to accept", func() bool {
		require.False(t, p.Exited(), "%s ended: %s", name, p.Log())
		return testkit.Accepts(addr)
	})
}
