package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// A caddyProcess is the one that is measured.
type caddyProcess struct{ *testkit.Process }

// startCaddy runs a Caddy with all ways to a server, until the end of the benchmark.
func startCaddy(b *testing.B, s *server) (*caddyProcess, []way) {
	b.Helper()
	ways := []way{
		{name: "proxy", address: testkit.FreeAddress(b)},
		{name: "proxy with tls", address: testkit.FreeAddress(b)},
		{name: "starttls_upstream and proxy", address: testkit.FreeAddress(b), greeted: true},
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
	caddy := testkit.Start(b, cmd)
	for _, w := range ways {
		testkit.AwaitListener(b, w.address)
	}
	return &caddyProcess{caddy}, ways
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

// cpuTime is what all its threads have used so far: fields 14 and 15 of proc(5)'s
// stat, in hundredths of a second.
func (c *caddyProcess) cpuTime(b *testing.B) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.PID()))
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
