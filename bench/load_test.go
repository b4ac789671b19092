package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The load program measures all proxies that are installed, and writes tables and plots. The
// figures of so short a run say nothing.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("./load.sh", "-out", dir, "-rounds", "1", "-n", "16", "-mib", "4", "-idle", "32", "-stalled", "32")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	table, err := os.ReadFile(filepath.Join(dir, "results.md"))
	require.NoError(t, err)
	for _, row := range []string{
		"| ours, smtp | 64 |", "| caddy-l4 tls + proxy | 1 |", "| a mail up, lines of 76 octets | ours, smtp, filter stays | 4 |",
		"CPU of a connection, 16 clients | smtp, against implicit TLS in caddy-l4 | at most 1.05 |",
		"memory of an idle session, as opened | ours, smtp, against implicit TLS in caddy-l4 |",
	} {
		require.Contains(t, string(table), row)
	}
	if os.Getenv("INTEROP") == "required" {
		require.NotContains(t, string(table), "left out")
	}
	for _, plot := range []string{"connections.svg", "transfers.svg", "memory.svg"} {
		text, err := os.ReadFile(filepath.Join(dir, plot))
		require.NoError(t, err)
		require.Contains(t, string(text), "<svg")
	}
}
