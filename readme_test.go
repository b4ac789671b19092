package l4starttls_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// fence finds the code blocks of a Markdown file.
var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// documents are the Markdown files that show configurations.
func documents(t *testing.T) []string {
	files, err := filepath.Glob("examples/*/README.md")
	require.NoError(t, err)
	return append(files, "README.md")
}

// Every configuration that is shown is valid.
func TestDocumentedConfigurations(t *testing.T) {
	seen := map[string]int{}
	for _, file := range documents(t) {
		for _, block := range blocks(t, file) {
			adapted, err := []byte(block.text), error(nil)
			switch block.language {
			case "caddyfile":
				adapted, err = adapt(strings.TrimSpace(block.text))
			case "json":
				require.True(t, json.Valid(adapted), "%s:\n%s", file, block.text)
			default:
				continue
			}
			require.NoError(t, err, "%s:\n%s", file, block.text)
			require.NoError(t, validate(t, adapted), "%s:\n%s", file, block.text)
			seen[block.language]++
		}
	}
	require.NotZero(t, seen["caddyfile"])
	require.NotZero(t, seen["json"])
}

// Every piece of Go that is shown is part of an Example, which runs.
func TestDocumentedGo(t *testing.T) {
	examples, err := os.ReadFile("upgrade/example_test.go")
	require.NoError(t, err)
	for _, block := range blocks(t, "README.md") {
		if block.language != "go" {
			continue
		}
		indented := "\t" + strings.ReplaceAll(strings.TrimSpace(block.text), "\n", "\n\t")
		require.Contains(t, string(examples), strings.ReplaceAll(indented, "\n\t\n", "\n\n"))
	}
}

// Every protocol has its row in the README's table, with the roles that it has.
func TestDocumentedProtocols(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `([a-z0-9-]+)` \\|.*\\| (yes|–) \\| (yes|–) \\|$").FindAllStringSubmatch(string(readme), -1)
	roles := map[string][2]bool{}
	for _, row := range rows {
		roles[row[1]] = [2]bool{row[2] == "yes", row[3] == "yes"}
	}
	want := map[string][2]bool{}
	for _, p := range upgrade.Protocols() {
		want[p.Name] = [2]bool{p.Accept != nil || p.EarlyDial, p.Request != nil}
	}
	require.Equal(t, want, roles)
}

type block struct{ language, text string }

func blocks(t *testing.T, file string) (found []block) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, match := range fence.FindAllStringSubmatch(string(content), -1) {
		found = append(found, block{match[1], match[2]})
	}
	return found
}
