package upgrade_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

// Each protocol of the table has transcripts for all that it can do, in its own folder,
// and a test there that plays them. That test wants every transcript in its folder to
// belong to a protocol that it plays.
func TestEachProtocolHasTranscripts(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		testdata := folder(t, p)
		_, err := dialoguetest.ReadAll(testdata, p)
		require.NoError(t, err)
		tests, err := filepath.Glob(filepath.Join(testdata, "..", "*_test.go"))
		require.NoError(t, err)
		plays := false
		for _, name := range tests {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			plays = plays || strings.Contains(string(text), "dialoguetest.Play(t, ")
		}
		require.True(t, plays, "no test in the folder of %s plays its transcripts", p.Name)
	}
}
