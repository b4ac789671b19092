package upgrade

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fromSession returns what a client says in a dialogue of a protocol's session, and the pattern of
// what it hears last. The package dialoguetest, which explains and reads sessions, imports this one.
func fromSession(t *testing.T, p *Protocol, title string) (says, hears string) {
	t.Helper()
	found, err := filepath.Glob("*/testdata/" + p.Name + ".session.txt")
	require.NoError(t, err)
	require.Len(t, found, 1, p.Name)
	text, err := os.ReadFile(found[0])
	require.NoError(t, err)
	_, dialogue, _ := strings.Cut(string(text), "\n== "+title+"\n")
	dialogue, _, _ = strings.Cut(dialogue, "\n== ")
	for line := range strings.Lines(dialogue) {
		kind, said, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch kind {
		case "C:":
			says += said + "\r\n"
		case "C=":
			unquoted, err := strconv.Unquote(said)
			require.NoError(t, err, line)
			says += unquoted
		case "C#":
			octets, err := hex.DecodeString(strings.ReplaceAll(said, " ", ""))
			require.NoError(t, err, line)
			says += string(octets)
		case "S~":
			hears = said
		case "", "//", "@":
		default:
			require.Fail(t, "not understood", "%s: %s", found[0], line)
		}
	}
	return says, hears
}
