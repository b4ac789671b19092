package bench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A caddyProcess is the one that is measured.
type caddyProcess struct{ cmd *exec.Cmd }

// startCaddy runs a Caddy with all ways to a server, until the end of the benchmark.
func startCaddy(b *testing.B, s *server) (*caddyProcess, []way) {
	b.Helper()
	ways := []way{
		{name: "proxy", address: freeAddress(b)},
		{name: "proxy with tls", address: freeAddress(b)},
		{name: "starttls_upstream and proxy", address: freeAddress(b), greeted: true},
	}
	tls := "tls_server_name " + serverName + "\ntls_trust_pool file " + s.trust
	config := fmt.Sprintf(`{
	%s
	persist_config off
	layer4 {
		%s {
			route {
				proxy %s
			}
		}
		%s {
			route {
				proxy {
					upstream %s {
						tls
						%s
					}
				}
			}
		}
		%s {
			route {
				starttls_upstream smtp {
					%[6]s
				}
				proxy %[8]s
			}
		}
	}
}
`, admin(), ways[0].address, s.plain, ways[1].address, s.implicit, tls, ways[2].address, s.upgraded)
	dir := b.TempDir()
	file := filepath.Join(dir, "Caddyfile")
	require.NoError(b, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(caddyBinary(b), "run", "--config", file)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	output, err := os.Create(filepath.Join(dir, "output"))
	require.NoError(b, err)
	cmd.Stdout, cmd.Stderr = output, output
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		_ = output.Close()
		if b.Failed() {
			text, _ := os.ReadFile(output.Name())
			b.Logf("%s", text)
		}
	})
	for _, w := range ways {
		awaitListener(b, w.address)
	}
	return &caddyProcess{cmd}, ways
}

// admin lets those look into Caddy who want to know where its time goes.
func admin() string {
	if address := os.Getenv("CADDY_ADMIN"); address != "" {
		return "admin " + address
	}
	return "admin off"
}

// caddyBinary builds a Caddy, unless there is one.
func caddyBinary(b *testing.B) string {
	b.Helper()
	if binary := os.Getenv("CADDY_BIN"); binary != "" {
		return binary
	}
	binary := filepath.Join(b.TempDir(), "caddy")
	output, err := exec.Command("go", "build", "-o", binary, "../cmd/caddy").CombinedOutput()
	require.NoError(b, err, "%s", output)
	return binary
}

func freeAddress(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	require.NoError(b, ln.Close())
	return ln.Addr().String()
}

func awaitListener(b *testing.B, address string) {
	b.Helper()
	require.Eventually(b, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, patience, 20*time.Millisecond, address)
}

// cpuTime is what all its threads have used so far: fields 14 and 15 of proc(5)'s
// stat, in hundredths of a second.
func (c *caddyProcess) cpuTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	require.NoError(b, err)
	_, rest, ok := strings.Cut(string(stat), ") ") // behind the program's name
	require.True(b, ok)
	ticks := 0
	for _, field := range strings.Fields(rest)[11:13] {
		n, err := strconv.Atoi(field)
		require.NoError(b, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
