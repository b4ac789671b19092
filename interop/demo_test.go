package interop

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// demoSpellings are the two ways in which Python's asyncio starts TLS on a stream: see
// testdata/demo.py.
var demoSpellings = []string{"inplace", "anew"}

// demoRounds is how often what depends on the moment is tried.
const demoRounds = 5

const (
	demoUpgraded  = "PONG in plaintext\nPONG in TLS\nleft b''\n"
	demoPlaintext = "PONG in plaintext\nleft b''\n"
)

// runDemoClient runs Python's client until its end.
func runDemoClient(t testing.TB, spelling, addr, ca string) string {
	t.Helper()
	out, err := run(t, clientTimeout, "", "python3", "-B", "testdata/demo_client.py", spelling, port(t, addr), ca, lineHost)
	require.NoError(t, err, out)
	return out
}

// startDemoServer runs Python's server.
func startDemoServer(t testing.TB, spelling string, ca *authority) (addr string) {
	t.Helper()
	cert, key := ca.issue(t, lineHost)
	addr = freeAddr(t)
	startProcess(t, "python3", "-B", "testdata/demo_server.py", spelling, port(t, addr), cert, key)
	waitTCP(t, addr)
	return addr
}

// buildDemo builds the programs of examples/pingpong.
func buildDemo(t testing.TB) (server, client string) {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"../examples/pingpong/server", "../examples/pingpong/client").CombinedOutput()
	require.NoError(t, err, string(out))
	return filepath.Join(dir, "server"), filepath.Join(dir, "client")
}

// startExampleServer runs the example's server.
func startExampleServer(t testing.TB, program string, ca *authority) (addr string) {
	t.Helper()
	cert, key := ca.issue(t, lineHost)
	addr = freeAddr(t)
	startProcess(t, program, "-listen", addr, "-cert", cert, "-key", key)
	waitTCP(t, addr)
	return addr
}

// TestDemoClients has Python's clients, and the example's, upgrade to Caddy, behind which an
// application knows nothing of TLS.
func TestDemoClients(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	f := startFront(t, "line", []string{lineHost}, startPonger(t))
	for _, spelling := range demoSpellings {
		t.Run(spelling, func(t *testing.T) {
			for range demoRounds {
				require.Equal(t, demoUpgraded, runDemoClient(t, spelling, f.addr, f.Root()))
			}
		})
	}
	t.Run("the example's", func(t *testing.T) {
		_, client := buildDemo(t)
		for _, pause := range []string{"0s", "100ms"} {
			out, err := run(t, clientTimeout, "", client, "-connect", f.addr, "-ca", f.Root(), "-name", lineHost, "-pause", pause)
			require.NoError(t, err, out)
			require.Equal(t, "PONG in plaintext\nPONG over TLS 1.3\n", out)
		}
	})
}

// TestDemoServers has clients in plaintext reach Python's servers and the example's inside TLS,
// which Caddy asks for. A server of asyncio's loses a ClientHello that it reads along with
// STARTTLS, so Caddy waits a moment in between. The server's first PING is the client's: the
// command comes before it.
func TestDemoServers(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	ca := newAuthority(t)
	servers := map[string]string{}
	for _, spelling := range demoSpellings {
		servers[spelling] = startDemoServer(t, spelling, ca)
	}
	server, _ := buildDemo(t)
	servers["the example's"] = startExampleServer(t, server, ca)
	handlers := map[string]string{}
	for name, addr := range servers {
		handlers[name] = upgradeUpstream("line", addr, lineHost, ca)
	}
	handlers["the example's, at once"] = upgradeUpstream("line", servers["the example's"], lineHost, ca, "pause 0")
	r := startRoutes(t, nil, handlers)
	for name := range handlers {
		t.Run(name, func(t *testing.T) {
			for range demoRounds {
				require.Equal(t, demoPlaintext, runDemoClient(t, "inplace", r.addr[name], "-"))
			}
		})
	}
	t.Run("with Caddy on both sides", func(t *testing.T) {
		f := startFrontBefore(t, "line", []string{lineHost}, upgradeUpstream("line", servers["anew"], lineHost, ca))
		require.Equal(t, demoUpgraded, runDemoClient(t, "anew", f.addr, f.Root()))
	})
}

// TestDemoPrograms has Python's programs and the example's talk to each other, without a Caddy.
func TestDemoPrograms(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	ca := newAuthority(t)
	server, client := buildDemo(t)
	addr := startExampleServer(t, server, ca)
	for _, spelling := range demoSpellings {
		t.Run(spelling, func(t *testing.T) {
			require.Equal(t, demoUpgraded, runDemoClient(t, spelling, addr, ca.file))
			python := startDemoServer(t, spelling, ca)
			out, err := run(t, clientTimeout, "", client, "-connect", python, "-ca", ca.file, "-name", lineHost)
			require.NoError(t, err, out)
			require.Equal(t, "PONG in plaintext\nPONG over TLS 1.3\n", out)
		})
	}
}
