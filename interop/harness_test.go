package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

const startTimeout = testkit.StartTimeout

// need skips the test, visibly, when a program is missing. With INTEROP=required,
// as in CI, it fails instead: a skipped test must not look like a passed one.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if program(name) == "" {
			unavailable(t, "%s is not installed", name)
		}
	}
}

// needRoot is need for servers that give up privileges and so must have them.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "not running as root")
	}
}

func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("INTEROP") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Short names for what all tests that start programs have in common.

func program(name string) string { return testkit.Program(name) }

func freeAddr(t testing.TB) string { t.Helper(); return testkit.FreeAddress(t) }

func port(t testing.TB, addr string) string { t.Helper(); return testkit.Port(t, addr) }

func serverDir(t testing.TB) string { t.Helper(); return testkit.ServerDir(t) }

func writeFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	return testkit.WriteFile(t, dir, name, content)
}

func eventually(t testing.TB, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	testkit.Eventually(t, timeout, what, ok)
}

func waitTCP(t testing.TB, addr string) { t.Helper(); testkit.AwaitListener(t, addr) }

func accepts(addr string) bool { return testkit.Accepts(addr) }

func run(t testing.TB, timeout time.Duration, stdin, name string, args ...string) (string, error) {
	t.Helper()
	return testkit.Run(t, timeout, stdin, name, args...)
}

type process = testkit.Process

func startCmd(t testing.TB, cmd *exec.Cmd) *process { t.Helper(); return testkit.Start(t, cmd) }

// startProcess starts a server program.
func startProcess(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return startCmd(t, exec.Command(program(name), args...))
}

// freeAddrOn is freeAddr for another loopback address.
func freeAddrOn(t testing.TB, ip string) string {
	t.Helper()
	return net.JoinHostPort(ip, port(t, freeAddr(t)))
}

// caddyServer is a running Caddy, with a storage and a local CA of its own.
type caddyServer struct {
	*process
	storage string
}

// startCaddy runs Caddy with the given contents of the layer4 block. It returns
// when the addresses accept connections and the hosts have their certificates,
// which are from Caddy's local CA.
func startCaddy(t testing.TB, layer4 string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	return startCaddyWith(t, "", layer4, hosts, addrs...)
}

// startCaddyWith is startCaddy with further global options.
func startCaddyWith(t testing.TB, global, layer4 string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	return startCaddyfile(t, func(storage string) string { return caddyfile(storage, global, layer4) }, hosts, addrs...)
}

// startCaddyfile is startCaddy with a whole Caddyfile, which has to name the storage.
func startCaddyfile(t testing.TB, config func(storage string) string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	dir := t.TempDir()
	storage := filepath.Join(dir, "storage")
	c := runCaddy(t, caddyBinary(t), storage, "--adapter", "caddyfile", "--config", writeFile(t, dir, "Caddyfile", config(storage)))
	c.await(t, hosts, addrs...)
	return c
}

// runCaddy runs a Caddy with a configuration that has this storage.
func runCaddy(t testing.TB, program, storage string, args ...string) *caddyServer {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(program, append([]string{"run"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	c := &caddyServer{process: startCmd(t, cmd), storage: storage}
	t.Cleanup(func() {
		require.NotContains(t, c.Log(), "installing root certificate", "a test must not change whom this machine trusts")
	})
	return c
}

// await returns when the addresses accept connections and the hosts have their
// certificates.
func (c *caddyServer) await(t testing.TB, hosts []string, addrs ...string) {
	t.Helper()
	eventually(t, startTimeout, "Caddy and its certificates", func() bool {
		require.False(t, c.Exited(), "Caddy ended: %s", c.Log())
		return c.ready(hosts, addrs)
	})
}

func caddyfile(storage, global, layer4 string) string {
	return fmt.Sprintf(`{
	%s
	%s
	layer4 {
		%s
	}
}
`, testOptions(storage), global, layer4)
}

// testOptions keep a Caddy to itself.
func testOptions(storage string) string {
	return fmt.Sprintf(`
	admin off
	local_certs
	skip_install_trust
	debug
	storage file_system %q`, storage)
}

// ready looks for certificates in the log, not in the storage: a handshake before
// they are in the cache fails.
func (c *caddyServer) ready(hosts, addrs []string) bool {
	log := c.Log()
	for _, host := range hosts {
		if !strings.Contains(log, `"data":{"sans":["`+host+`"]}}`) {
			return false
		}
	}
	for _, addr := range addrs {
		if !accepts(addr) {
			return false
		}
	}
	return true
}

// Root returns the path of the local CA's root certificate, in PEM.
func (c *caddyServer) Root() string {
	return filepath.Join(c.storage, "pki", "authorities", "local", "root.crt")
}

// requireVerified upgrades with openssl s_client, which knows its protocols from
// nobody of ours, and requires a certificate for host that Caddy's CA vouches for.
func requireVerified(t testing.TB, c *caddyServer, proto, addr, host string) {
	t.Helper()
	out, err := run(t, 20*time.Second, "", "openssl", "s_client", "-brief",
		"-starttls", proto, "-connect", addr, "-servername", host,
		"-verify_hostname", host, "-verify_return_error", "-CAfile", c.Root())
	require.NoError(t, err, out)
	require.Contains(t, out, "Verification: OK")
	require.Contains(t, out, "Verified peername: "+host)
}
