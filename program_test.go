package l4starttls_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// Whoever copies the program of the guide, and the commands that are for a checkout, sees what is
// shown. It is formatted, and what it is linked of has nothing of Caddy's.
func TestDocumentedProgram(t *testing.T) {
	program, checkout := "", ""
	for _, block := range blocks(t, "docs/library.md") {
		switch {
		case strings.HasPrefix(block.text, "package main\n"):
			program = block.text
		case strings.Contains(block.text, "go mod edit -replace"):
			checkout = block.text
		}
	}
	require.NotEmpty(t, program)
	parent := t.TempDir()
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(here, filepath.Join(parent, "caddy-l4-starttls")))
	dir := filepath.Join(parent, "hello")
	require.NoError(t, os.Mkdir(dir, 0o700))
	testkit.WriteFile(t, dir, "main.go", program)
	run := func(command string) string {
		words := strings.Fields(command)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		out, err := cmd.Output()
		require.NoError(t, err, "%s: %s", command, out)
		return string(out)
	}
	ran := 0
	for commands := range strings.SplitSeq(checkout, "$ ") {
		command, shown, _ := strings.Cut(commands, "\n")
		if command == "" {
			continue
		}
		require.Equal(t, shown, run(command), command)
		ran++
	}
	require.Equal(t, 4, ran)
	require.Empty(t, run("gofmt -l ."))
	require.NotContains(t, run("go list -deps ."), "caddyserver")
}
