package l4starttls_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// fence finds the code blocks of a Markdown file.
var fence = regexp.MustCompile("(?ms)^```([a-z]*)(?: needs ([a-z._]+))?\n(.*?)^```$")

// documents are the Markdown files that show configurations.
func documents(t *testing.T) []string {
	files, err := filepath.Glob("examples/*/README.md")
	require.NoError(t, err)
	return append(append(files, guides(t)...), "README.md")
}

// guides are the Markdown files below docs.
func guides(t *testing.T) (files []string) {
	require.NoError(t, filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	}))
	require.NotEmpty(t, files)
	return files
}

// Every configuration that is shown is valid. What comes with another plugin is named, and
// stands in for itself.
func TestDocumentedConfigurations(t *testing.T) {
	certificates := testkit.DocumentedCertificates(t)
	seen := map[string]int{}
	for _, file := range documents(t) {
		for _, block := range blocks(t, file) {
			text := certificates.Replace(block.text)
			adapted, err := []byte(text), error(nil)
			switch block.language {
			case "caddyfile":
				requireModule(t, block.needs)
				requireFormatted(t, file, block.text)
				adapted, err = adapt(strings.TrimSpace(text))
			case "json":
				require.True(t, json.Valid(adapted), "%s:\n%s", file, block.text)
			default:
				require.Empty(t, block.needs)
				continue
			}
			require.NoError(t, err, "%s:\n%s", file, block.text)
			warnings, err := validate(t, adapted)
			require.NoError(t, err, "%s:\n%s", file, block.text)
			require.Empty(t, warnings, "%s:\n%s", file, block.text)
			seen[block.language]++
			seen[block.needs]++
		}
	}
	require.NotZero(t, seen["caddyfile"])
	require.NotZero(t, seen["json"])
	require.NotZero(t, seen["dns.providers.cloudflare"])
}

// requireFormatted finds what `caddy fmt` would change.
func requireFormatted(t *testing.T, file, text string) {
	require.Equal(t, string(caddyfile.Format([]byte(text))), strings.TrimSpace(text)+"\n", "%s: not as caddy fmt has it", file)
}

// requireModule finds that a module is not part of Caddy, but that all else is there.
func requireModule(t *testing.T, id string) {
	if id == "" {
		return
	}
	info, err := caddy.GetModule(id)
	require.NoError(t, err)
	require.IsType(t, new(dnsProvider), info.New(), "%s need not be named", id)
}

// Every piece of Go that is shown is part of an Example, which runs.
func TestDocumentedGo(t *testing.T) {
	examples, err := os.ReadFile("upgrade/example_test.go")
	require.NoError(t, err)
	for _, block := range append(blocks(t, "README.md"), blocks(t, "docs/library.md")...) {
		if block.language != "go" || strings.HasPrefix(block.text, "package main") {
			continue // a whole program is run by TestDocumentedProgram
		}
		indented := "\t" + strings.ReplaceAll(strings.TrimSpace(block.text), "\n", "\n\t")
		require.Contains(t, string(examples), strings.ReplaceAll(indented, "\n\t\n", "\n\n"))
	}
}

// protocolTable finds a document's table of protocols.
var protocolTable = regexp.MustCompile(`(?s)(<!-- protocols:[^>]*-->\n).*(<!-- /protocols -->)`)

// The tables have a row for every protocol, made of what the protocol says of itself.
func TestDocumentedProtocols(t *testing.T) {
	for file, rows := range map[string]string{
		"README.md": protocolRows(t), "docs/limits.md": messageRows(), "docs/protocols/README.md": pageRows(t),
	} {
		document, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Len(t, protocolTable.FindAll(document, -1), 1, file)
		want := protocolTable.ReplaceAllString(string(document), "${1}"+strings.ReplaceAll(rows, "$", "$$")+"${2}")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(want), 0o600))
			continue
		}
		require.Equal(t, want, string(document), "%s: `go test . -update` writes it anew", file)
	}
}

// messageRows tell how long a message may be.
func messageRows() string {
	rows := "| protocol | `message` |\n|---|---|\n"
	for _, p := range upgrade.Protocols() {
		message := "the backend's"
		if !p.EarlyDial {
			message = fmt.Sprint(upgrade.Limits{}.ForProtocol(p).Message)
		}
		rows += fmt.Sprintf("| `%s` | %s |\n", p.Name, message)
	}
	return rows
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

// A block is a code block. Its configuration may need a module that Caddy does not have.
type block struct{ language, needs, text string }

func blocks(t *testing.T, file string) (found []block) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, match := range fence.FindAllStringSubmatch(string(content), -1) {
		found = append(found, block{match[1], match[2], match[3]})
	}
	return found
}
