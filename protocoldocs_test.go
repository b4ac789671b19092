package l4starttls_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// protocolFacts finds the table of facts on a protocol's page.
var protocolFacts = regexp.MustCompile(`(?s)(<!-- facts:[^>]*-->\n).*(<!-- /facts -->)`)

// Every protocol has a page, with a table that is made of what it says of itself.
func TestProtocolPages(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		file := "docs/protocols/" + p.Name + ".md"
		page, err := os.ReadFile(file)
		require.NoError(t, err, "write the page: a title, the line <!-- facts: `go test . -update` writes them -->, "+
			"the line <!-- /facts -->, and the sections Before TLS, Behind TLS and What to know, as on the others")
		require.Len(t, protocolFacts.FindAll(page, -1), 1, file)
		require.Contains(t, string(page), "\n## Before TLS\n", file)
		require.Contains(t, string(page), "\n## Behind TLS\n", file)
		want := protocolFacts.ReplaceAllString(string(page), "${1}"+strings.ReplaceAll(factRows(p), "$", "$$")+"${2}")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(want), 0o600))
			continue
		}
		require.Equal(t, want, string(page), "%s: `go test . -update` writes it anew", file)
	}
}

// factRows are what a protocol says of itself.
func factRows(p *upgrade.Protocol) string {
	first, dials := "client", "after the upgrade"
	if p.ServerFirst {
		first = "server"
	}
	if p.EarlyDial {
		dials = "before the upgrade"
	}
	rows := "| | |\n|---|---|\n"
	for _, fact := range [][2]string{
		{"name", "`" + p.Name + "`"},
		{"ports", p.Facts.Ports},
		{"asks for TLS with", p.Facts.Upgrade},
		{"document", p.Facts.Document},
		{"speaks first", first},
		{"backend is dialled", dials},
		{"policy by default", defaultPolicy(p)},
		{"ALPN ids", quoted(p.ALPN)},
		{"options of its own", optionNames(p)},
	} {
		rows += fmt.Sprintf("| %s | %s |\n", fact[0], fact[1])
	}
	return rows
}

func defaultPolicy(p *upgrade.Protocol) string {
	if p.PlaintextByDefault {
		return "`optional`"
	}
	return "`required`"
}

func optionNames(p *upgrade.Protocol) string {
	var names []string
	for _, option := range p.Options {
		names = append(names, option.Name)
	}
	return quoted(names)
}

func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return "`" + strings.Join(names, "`, `") + "`"
}

// pageRows lead to the pages.
func pageRows(t *testing.T) string {
	rows := "| protocol | page |\n|---|---|\n"
	for _, p := range upgrade.Protocols() {
		page, err := os.ReadFile("docs/protocols/" + p.Name + ".md")
		require.NoError(t, err)
		title, _, _ := strings.Cut(strings.TrimPrefix(string(page), "# "), "\n")
		rows += fmt.Sprintf("| `%s` | [%s](%s.md) |\n", p.Name, title, p.Name)
	}
	return rows
}
