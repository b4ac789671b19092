package l4starttls_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// Every Caddyfile in examples/ and packaging/ is valid, without a warning, and its caddy.json, where there is one, is
// what becomes of it.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*/Caddyfile")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	certificates := testkit.DocumentedCertificates(t)
	for _, file := range append(files, "packaging/mail.Caddyfile") {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			config, err := os.ReadFile(file)
			require.NoError(t, err)
			requireFormatted(t, file, string(config))
			adapted, err := adapt(strings.TrimSpace(string(config)))
			require.NoError(t, err)
			warnings, err := validate(t, []byte(certificates.Replace(string(adapted))))
			require.NoError(t, err)
			require.Empty(t, warnings)
			compareJSON(t, filepath.Join(dir, "caddy.json"), indented(t, adapted)+"\n")
		})
	}
}

func compareJSON(t *testing.T, file, want string) {
	got, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return
	}
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(got))
}
