package l4starttls_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// The documents of commands have a row for every flag, made of what the flag says of itself.
func TestDocumentedFlags(t *testing.T) {
	requireParts(t, "docs/commands/starttls-proxy.md", map[string]string{"flags": flagRows(newCommand(t, "starttls-proxy"))})
}

// requireParts compares parts of a document with what they are made of.
func requireParts(t *testing.T, file string, parts map[string]string) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	want := string(content)
	for name, part := range parts {
		place := regexp.MustCompile(`(?s)(<!-- ` + name + `:[^>]*-->\n).*?(<!-- /` + name + ` -->)`)
		require.Len(t, place.FindAllString(want, -1), 1, "%s: %s", file, name)
		want = place.ReplaceAllString(want, "${1}"+strings.ReplaceAll(part, "$", "$$")+"${2}")
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(content), "%s: `go test . -update` writes it anew", file)
}

// defaultIn finds a default that a flag words itself.
var defaultIn = regexp.MustCompile(` \(default:? (.*)\)$`)

// flagRows are a document's table of a command's flags, in the order in which it has them.
func flagRows(cmd *cobra.Command) string {
	rows := "| flag | means | default |\n|---|---|---|\n"
	cmd.Flags().SortFlags = false
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		name, otherwise := "`--"+f.Name+"`", ""
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		switch {
		case f.Value.Type() == "bool":
			otherwise = "off"
		case f.DefValue != "" && f.DefValue != "[]":
			otherwise = "`" + f.DefValue + "`"
		}
		usage := f.Usage
		if words := defaultIn.FindStringSubmatch(usage); words != nil {
			usage, otherwise = strings.TrimSuffix(usage, words[0]), words[1]
		}
		rows += "| " + name + " | " + strings.ReplaceAll(usage, "<", "\\<") + " | " + otherwise + " |\n"
	})
	return rows
}
