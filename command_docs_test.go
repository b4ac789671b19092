package l4starttls_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/probe"
)

// The documents of commands have a row for every flag, made of what the flag says of itself.
func TestDocumentedFlags(t *testing.T) {
	requireParts(t, "docs/commands/starttls-proxy.md", map[string]string{"flags": flagRows(newCommand(t, "starttls-proxy"))})
	requireParts(t, "docs/commands/starttls-probe.md", map[string]string{
		"flags":    flagRows(newCommand(t, "starttls-probe")),
		"statuses": statusRows(t),
		"fields":   fieldRows(t, reflect.TypeFor[probe.Report]()),
		"several":  "| field | type | always | means |\n|---|---|---|---|\n" + summaryRows(t),
	})
}

// summaryRows are those of what is around reports.
func summaryRows(t *testing.T) (rows string) {
	for line := range strings.Lines(fieldRows(t, reflect.TypeFor[probe.Summary]())) {
		if strings.Contains(line, "`domain") || strings.Contains(line, "`reports`") {
			rows += line
		}
	}
	return rows
}

// statusRows are the exit statuses of the help.
func statusRows(t *testing.T) string {
	_, list, ok := strings.Cut(newCommand(t, "starttls-probe").Long, "The exit status is\n")
	require.True(t, ok)
	rows := "| exit status | means |\n|---|---|\n"
	for line := range strings.Lines(strings.TrimSpace(list)) {
		status, means, ok := strings.Cut(strings.TrimSpace(line), "  if ")
		require.True(t, ok, line)
		rows += "| " + status + " | " + means + " |\n"
	}
	return rows
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

// fieldRows are a document's table of the fields of a JSON object, made of the Go documentation
// of the types.
func fieldRows(t *testing.T, of reflect.Type) string {
	rows := "| field | type | always | means |\n|---|---|---|---|\n"
	documented := fieldDocs(t, "probe")
	var walk func(prefix string, of reflect.Type)
	walk = func(prefix string, of reflect.Type) {
		for _, f := range reflect.VisibleFields(of) {
			tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || tag == "" {
				continue
			}
			doc := documented[of.Name()+"."+f.Name]
			require.NotEmpty(t, doc, "%s.%s has no documentation", of.Name(), f.Name)
			name, kind, inner := jsonType(f.Type)
			always := "yes"
			if strings.Contains(options, "omitempty") {
				always = ""
			}
			rows += "| `" + prefix + tag + "` | " + kind + " | " + always + " | " + doc + " |\n"
			if inner != nil {
				walk(prefix+tag+name, inner)
			}
		}
	}
	walk("", of)
	return rows
}

// jsonType is how JSON has a type, and the struct that is in it.
func jsonType(of reflect.Type) (suffix, kind string, inner reflect.Type) {
	switch {
	case of == reflect.TypeFor[time.Time]():
		return "", "time", nil
	case of == reflect.TypeFor[*probe.Milliseconds]():
		return "", "number", nil
	case of.Kind() == reflect.Pointer:
		return jsonType(of.Elem())
	case of.Kind() == reflect.Slice:
		_, kind, inner = jsonType(of.Elem())
		return "[].", "list of " + kind + "s", inner
	case of.Kind() == reflect.Struct:
		return ".", "object", of
	case of.Kind() == reflect.Bool:
		return "", "boolean", nil
	case of.Kind() == reflect.String:
		return "", "string", nil
	}
	return "", "number", nil
}

// fieldDocs has the documentation of the fields of a package's structs, without the name that
// it begins with.
func fieldDocs(t *testing.T, dir string) map[string]string {
	docs := map[string]string{}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if of, ok := spec.Type.(*ast.StructType); ok {
				for _, field := range of.Fields.List {
					for _, name := range field.Names {
						doc := strings.Join(strings.Fields(field.Doc.Text()), " ")
						for _, front := range []string{name.Name + " is ", name.Name + " are ", name.Name + " "} {
							doc = strings.TrimPrefix(doc, front)
						}
						docs[spec.Name.Name+"."+name.Name] = doc
					}
				}
			}
			return false
		})
	}
	return docs
}
