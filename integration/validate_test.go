package integration_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// Whoever looks at an example with Caddy's own command is told nothing that needs thought:
// neither of the Caddyfile nor of the JSON.
func TestValidateIsSilentOnExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*/Caddyfile")
	require.NoError(t, err)
	configs, err := filepath.Glob("../examples/*/caddy.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	require.NotEmpty(t, configs)
	for _, file := range append(files, configs...) {
		t.Run(strings.TrimPrefix(file, "../examples/"), func(t *testing.T) {
			p := &process{instance: newInstance(t)}
			args := []string{"validate", "--config", certified(t, file)}
			if filepath.Base(file) == "Caddyfile" {
				args = append(args, "--adapter", "caddyfile")
			}
			cmd := p.command(args...)
			cmd.Dir = p.dir // where an example's storage is, if it has a place of its own
			requireSilent(t, cmd)
		})
	}
}

// certified is a copy of a configuration, for which the certificate is there that it names.
func certified(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return testkit.WriteFile(t, t.TempDir(), filepath.Base(file), testkit.DocumentedCertificates(t).Replace(string(text)))
}

// requireSilent runs a command of Caddy's that must succeed, and say nothing beyond info.
func requireSilent(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Contains(t, string(output), "Valid configuration")
	for line := range strings.Lines(string(output)) {
		var entry logEntry
		if json.Unmarshal([]byte(line), &entry) != nil {
			require.Equal(t, "Valid configuration\n", line)
			continue
		}
		require.Equal(t, "info", entry.Level, line)
	}
}
