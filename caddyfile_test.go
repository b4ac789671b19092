package l4starttls_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
	"github.com/stretchr/testify/require"

	_ "github.com/l4starttls/caddy-l4-starttls"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

var update = flag.Bool("update", false, "write the second halves of the .caddyfiletest files anew, and the documents' tables of protocols")

// separator is the line between the two halves of a .caddyfiletest file.
const separator = "\n----------\n"

// listed are the words that lead to a list of protocols' names in the second half of a file,
// and which protocols are in it. There {protocols} stands for the names, so that a new one
// changes none of the files.
var listed = map[string]func(*upgrade.Protocol) bool{
	"must be one of: ": func(*upgrade.Protocol) bool { return true },
	"can be matched: ": func(p *upgrade.Protocol) bool { return p.Match != nil },

	"whose clients do not tell their names; it is for: ": func(p *upgrade.Protocol) bool { return p.Introduces },
}

// withLists replaces {protocols} by the names, and withoutLists does the reverse.
func withLists(text string) string {
	return replaceLists(text, func(words, names string) (string, string) { return words + "{protocols}", words + names })
}

func withoutLists(text string) string {
	return replaceLists(text, func(words, names string) (string, string) { return words + names, words + "{protocols}" })
}

func replaceLists(text string, pair func(words, names string) (string, string)) string {
	for words, has := range listed {
		var names []string
		for _, p := range upgrade.Protocols() {
			if has(p) {
				names = append(names, p.Name)
			}
		}
		from, to := pair(words, strings.Join(names, ", "))
		text = strings.ReplaceAll(text, from, to)
	}
	return text
}

// Each file holds a Caddyfile, a line of dashes, and what becomes of it: the JSON and
// the warnings at start, or the error of adapting or else of validating it.
func TestCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			config, want, ok := strings.Cut(string(content), separator)
			require.True(t, ok, "no line of dashes")
			got := outcome(t, config)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(config+separator+withoutLists(got)+"\n"), 0o600))
				return
			}
			require.Equal(t, withLists(strings.TrimSpace(want)), got)
		})
	}
}

// outcome is what the second half of a file should be.
func outcome(t *testing.T, config string) string {
	adapted, err := adapt(config)
	var warnings []string
	if err == nil {
		warnings, err = validate(t, adapted)
	}
	if err != nil {
		return strings.TrimSpace(err.Error())
	}
	return strings.Join(append([]string{indented(t, adapted)}, warnings...), "\n")
}

// Every error says where the Caddyfile has what it is about.
func TestErrorsNameTheLine(t *testing.T) {
	files, err := filepath.Glob("testdata/error_*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		_, got, _ := strings.Cut(string(content), separator)
		require.Regexp(t, `, at Caddyfile:[0-9]+\n$`, got, file)
	}
}

// adapt turns a Caddyfile into JSON. Warnings, of which the formatter is one, count as
// errors here.
func adapt(config string) ([]byte, error) {
	adapter := caddyconfig.GetAdapter("caddyfile")
	adapted, warnings, err := adapter.Adapt([]byte(config+"\n"), map[string]any{"filename": "Caddyfile"})
	if err == nil && len(warnings) > 0 {
		return nil, caddy.APIError{Message: warnings[0].String()}
	}
	return adapted, err
}

// validate provisions a configuration and lets go of it again, and returns what has been
// logged that is worth a warning. Nothing listens, and what Caddy keeps goes to a temporary
// directory.
func validate(t *testing.T, adapted []byte) (warnings []string, err error) {
	config := new(caddy.Config)
	if err := json.Unmarshal(adapted, config); err != nil {
		return nil, err
	}
	log := filepath.Join(t.TempDir(), "log")
	config.Admin = &caddy.AdminConfig{Disabled: true}
	config.StorageRaw = caddyconfig.JSON(map[string]string{"module": "file_system", "root": t.TempDir()}, nil)
	config.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{
			Level:      "WARN",
			WriterRaw:  caddyconfig.JSON(map[string]any{"output": "file", "filename": log, "roll": false}, nil),
			EncoderRaw: []byte(`{"format": "json"}`),
		}},
	}}
	err = caddy.Validate(config)
	return logged(t, log), err
}

// logged are the entries of a log.
func logged(t *testing.T, log string) (entries []string) {
	content, err := os.ReadFile(log)
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(t, err)
	for line := range strings.Lines(string(content)) {
		var entry struct{ Level, Logger, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		entries = append(entries, entry.Level+" "+entry.Logger+": "+entry.Msg)
	}
	return entries
}

func indented(t *testing.T, config []byte) string {
	var out bytes.Buffer
	require.NoError(t, json.Indent(&out, config, "", "\t"))
	return out.String()
}

// What no Caddyfile leads to, and a JSON configuration may still contain.
func TestJSONErrors(t *testing.T) {
	for name, test := range map[string]struct{ route, want string }{
		"no protocol": {
			`{"handle": [{"handler": "starttls"}]}`,
			"no protocol; must be one of: ",
		},
		"negative limit": {
			`{"handle": [{"handler": "starttls", "protocol": "smtp", "limits": {"commands": -5}}]}`,
			"limits commands -5: must be at least 1",
		},
		"unknown limit": {
			`{"handle": [{"handler": "starttls", "protocol": "smtp", "limits": {"connections": 5}}]}`,
			`unknown field "connections"`,
		},
		"negative negotiation timeout": {
			`{"handle": [{"handler": "starttls", "protocol": "smtp", "negotiation_timeout": "-1s"}]}`,
			"negotiation_timeout -1s: must not be negative",
		},
		"unknown field": {
			`{"handle": [{"handler": "starttls", "protocol": "smtp", "hostname": "mail.example.com"}]}`,
			`unknown field "hostname"`,
		},
		"wrong type": {
			`{"handle": [{"handler": "starttls", "protocol": "smtp", "hostnames": "mail.example.com"}]}`,
			"cannot unmarshal string into Go struct field starttls.hostnames",
		},
		"matcher is no list": {
			`{"match": [{"starttls": {"protocols": ["postgres"]}}], "handle": [{"handler": "echo"}]}`,
			"cannot unmarshal object into Go value of type []string",
		},
		"matcher with a protocol of servers that speak first": {
			`{"match": [{"starttls": ["imap"]}], "handle": [{"handler": "echo"}]}`,
			`protocol "imap" cannot be matched, because the server speaks first`,
		},
		"policy of another type": {
			`{"handle": [{"handler": "starttls", "protocol": "smtp", "connection_policies": [{"protocol_min": "tls9"}]}]}`,
			"setting up connection policies: ",
		},
		"upstream without a protocol": {
			`{"handle": [{"handler": "starttls_upstream", "tls": {"server_name": "mail.example.com"}}]}`,
			"no protocol; must be one of: ",
		},
		"upstream with excepted ports": {
			`{"handle": [{"handler": "starttls_upstream", "protocol": "smtp", "tls": {"server_name": "mail.example.com", "except_ports": ["25"]}}]}`,
			"except_ports has no effect",
		},
		"upstream with a certificate but no key": {
			`{"handle": [{"handler": "starttls_upstream", "protocol": "smtp", "tls": {"server_name": "mail.example.com", "client_certificate_file": "cert.pem"}}]}`,
			"client_certificate_file specified without client_certificate_key_file",
		},
		"upstream with a command of two lines": {
			`{"handle": [{"handler": "starttls_upstream", "protocol": "line", "command": "A\nB", "tls": {"server_name": "mail.example.com"}}]}`,
			`command "A\nB": must not contain control characters`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := `{"apps": {"layer4": {"servers": {"srv0": {"listen": ["127.0.0.1:0"], "routes": [` + test.route + `]}}}}}`
			_, err := validate(t, []byte(config))
			require.ErrorContains(t, err, test.want)
		})
	}
}
