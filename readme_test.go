package l4starttls_test

import (
	"encoding/json"
	"fmt"
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
			warnings, err := validate(t, adapted)
			require.NoError(t, err, "%s:\n%s", file, block.text)
			require.Empty(t, warnings, "%s:\n%s", file, block.text)
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

// protocolTable finds the README's table of protocols.
var protocolTable = regexp.MustCompile(`(?s)(<!-- protocols:[^>]*-->\n).*(<!-- /protocols -->)`)

// The README's table has a row for every protocol, made of what the protocol says of itself.
func TestDocumentedProtocols(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Len(t, protocolTable.FindAll(readme, -1), 1)
	want := protocolTable.ReplaceAllString(string(readme), "${1}"+strings.ReplaceAll(protocolRows(t), "$", "$$")+"${2}")
	if *update {
		require.NoError(t, os.WriteFile("README.md", []byte(want), 0o600))
		return
	}
	require.Equal(t, want, string(readme), "`go test . -update` writes it anew")
}

func protocolRows(t *testing.T) string {
	rows := "| name | ports | upgrade | document | accept | request |\n|---|---|---|---|---|---|\n"
	has := map[bool]string{true: "yes", false: "–"}
	for _, p := range upgrade.Protocols() {
		f := p.Facts
		require.NotContains(t, []string{f.Ports, f.Upgrade, f.Document}, "", "%s has no facts", p.Name)
		if p.Port != 0 {
			require.Regexp(t, fmt.Sprintf(`^%d\b`, p.Port), f.Ports, p.Name)
		}
		rows += fmt.Sprintf("| `%s` | %s | %s | %s | %s | %s |\n", p.Name, f.Ports, f.Upgrade, f.Document,
			has[p.Accept != nil || p.EarlyDial], has[p.Request != nil])
	}
	return rows
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
