package l4starttls_test

import (
	"bytes"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// newCommand makes one of the plugin's commands as Caddy does.
func newCommand(t *testing.T, name string) *cobra.Command {
	command, ok := caddycmd.Commands()[name]
	require.True(t, ok, "%s is not registered", name)
	cmd := &cobra.Command{Use: command.Name + " " + command.Usage, Short: command.Short, Long: command.Long, SilenceUsage: true, SilenceErrors: true}
	command.CobraFunc(cmd)
	return cmd
}

// runCommand runs one, and returns its exit status, what it printed and its error.
func runCommand(t *testing.T, name string, args ...string) (status int, out string, err error) {
	cmd := newCommand(t, name)
	var printed bytes.Buffer
	cmd.SetOut(&printed)
	cmd.SetErr(&printed)
	cmd.SetArgs(args)
	if err = cmd.ExecuteContext(t.Context()); err != nil {
		status = 1
		if code := reflect.Indirect(reflect.ValueOf(err)); code.Kind() == reflect.Struct && code.FieldByName("ExitCode").IsValid() {
			status = int(code.FieldByName("ExitCode").Int())
		}
	}
	return status, printed.String(), err
}

// proxyConfig is what starttls-proxy prints of what it would run, which is what it adapts.
func proxyConfig(t *testing.T, args ...string) string {
	t.Helper()
	status, out, err := runCommand(t, "starttls-proxy", append(args, "--print-config")...)
	require.NoError(t, err, args)
	require.Zero(t, status)
	return out
}

// Whatever the flags are, the Caddyfile is formatted, and Caddy would run it without a warning.
func TestProxyCommandMakesValidCaddyfiles(t *testing.T) {
	dir := t.TempDir()
	certificate, _ := testkit.PEM(t, testkit.SelfSigned(t, "backend.example.com"))
	ca := testkit.WriteFile(t, dir, "my `root`.pem", string(certificate))
	plainCA := testkit.WriteFile(t, dir, "my #1 root.pem", string(certificate))
	_, _, err := runCommand(t, "starttls-proxy", "smtp", "--from", "a.example.com", "--to", "b.example.com", "--upstream-tls", "--upstream-ca", ca)
	require.ErrorContains(t, err, "backquotes")
	for _, p := range upgrade.Protocols() {
		from, to := "mail.example.com:5870", "backend.example.com:5871"
		sets := map[string][]string{
			"bare":      {"--from", from, "--to", to},
			"logged":    {"--from", from, "--to", to, "--access-log", "--debug", "--internal-certs"},
			"upgraded":  {"--from", from, "--to", to, "--upstream-tls", "--upstream-ca", plainCA},
			"implicit":  {"--from", from, "--from", "[::1]:5872", "--to", to, "--to", to + "1", "--upstream-tls=implicit"},
			"plaintext": {"--from", "127.0.0.1:5873", "--to", to, "--plaintext", "--upstream-tls", "--access-log"},
			"socket":    {"--from", "LocalHost.:5873", "--to", "unix//run/backend.sock", "--upstream-tls", "--upstream-server-name", "b.example.com"},
		}
		if !p.AlwaysTLS {
			sets["logged"] = append(sets["logged"], "--optional")
		}
		if !p.EarlyDial {
			sets["proxied"] = []string{"--from", from, "--to", to, "--implicit-tls", "--send-proxy-protocol"}
		}
		if p.TakesImplicitTLS() {
			sets["both ports"] = []string{"--from", from, "--to", to, "--implicit-tls"}
		}
		if p.DataConnections {
			sets["implicit"] = append(sets["implicit"], "--data-upstream", "backend.example.com")
			sets["socket"] = append(sets["socket"], "--data-upstream", "backend.example.com")
		}
		for name, args := range sets {
			t.Run(p.Name+"/"+name, func(t *testing.T) {
				config := proxyConfig(t, append([]string{p.Name}, args...)...)
				adapted, err := adapt(strings.TrimSpace(config))
				require.NoError(t, err, config)
				warnings, err := validate(t, adapted)
				require.NoError(t, err, config)
				require.Empty(t, warnings, config)
			})
		}
	}
}

// Values end where they do on the command line, whatever is in them.
func TestProxyCommandQuotes(t *testing.T) {
	config := proxyConfig(t, "line", "--from", "localhost:7000", "--to", "localhost:7001",
		"--command", `START "TLS" {now} # \`, "--reply", "<<OK", "--pause", "5ms", "--upstream-tls")
	adapted, err := adapt(strings.TrimSpace(config))
	require.NoError(t, err)
	require.Equal(t, 2, strings.Count(string(adapted), `"command":"START \"TLS\" {now} # \\"`), string(adapted))
	require.Equal(t, 2, strings.Count(string(adapted), `"reply":"\u003c\u003cOK"`), string(adapted))
	require.Equal(t, 1, strings.Count(string(adapted), `"pause":"5ms"`), string(adapted))
}

func TestProxyCommandRefuses(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for args, want := range map[string]string{
		"":                                    "an argument is missing: PROTOCOL",
		"smtp a":                              `there is no place for "a" behind PROTOCOL`,
		"smpt":                                `unknown protocol "smpt"; must be one of: `,
		"submission":                          `did you mean "smtp"?`,
		"smtp":                                "--from is required",
		"smtp --from a.example.com":           "--to is required",
		"smtp --from :587 --to b":             `--from ":587": must begin with a domain name or an IP address`,
		"smtp --from a:b:c --to b":            `--from "a:b:c": must be <host> or <host>:<port>`,
		"smtp --from a.example.com:0 --to b":  `unknown port "0"`,
		"line --from a.example.com:7 --to b":  `--to "b": a port is required, since the protocol has none of its own`,
		"smtp --from a --to b --command X":    `--command: protocol "smtp" has no option "command"`,
		"line --from a:1 --to b:1 --pause 1s": "--pause: it is for the upgrade of an upstream, and so needs --upstream-tls",
		"line --from a:1 --to b:1 --command A{$B}":                         `--command: must not contain "{$"`,
		"connect --from ::1 --to b --plaintext --upstream-tls --targets a": "--targets: ",
		"connect --from a --to b --upstream-tls --proxy-auth x":            "--proxy-auth: ",
		"mysql --from a --to b --implicit-tls":                             `--implicit-tls does not go with protocol "mysql"`,
		"line --from a:1 --to b:1 --send-proxy-protocol":                   "--send-proxy-protocol does not go with",
		"smtp --from a --to b --plaintext":                                 "--plaintext is for servers that demand TLS",
		"smtp --from a --to b --plaintext --upstream-tls":                  "with --plaintext it must be localhost or a loopback address",
		"smtp --from ::1 --to b --plaintext --upstream-tls --optional":     "leave them out",
		"smtp --from a --to b --upstream-tls=yes":                          `--upstream-tls "yes": must be starttls or implicit`,
		"smtp --from a --to b --upstream-ca x":                             "without which they have no effect",
		"smtp --from a --to b --to c --upstream-tls":                       "several names to verify a certificate against, b, c",
		"smtp --from a --to unix//run/s --upstream-tls":                    "has no name to verify a certificate against",
		"smtp --from a --to b --upstream-tls --upstream-server-name a/b":   `--upstream-server-name "a/b": must be a domain name`,
		"smtp --from a --to b --upstream-tls --upstream-ca " + missing:     "--upstream-ca: reading CA certificates: ",
		"ftp --from a --to b --data-ports 2-1":                             "--data-ports: ",
		"connect --from a --to b --targets a:b:c":                          "--targets: ",
	} {
		status, out, err := runCommand(t, "starttls-proxy", append(strings.Fields(args), "--print-config")...)
		require.Equal(t, 1, status, args)
		require.ErrorContains(t, err, want, args)
		require.NotContains(t, out, "layer4", args)
	}
}

// Every example in the help and in the documents is one that runs, and prints what it is said
// to print.
func TestProxyCommandExamples(t *testing.T) {
	help := newCommand(t, "starttls-proxy")
	examples := regexp.MustCompile(`(?m)^ *\$ caddy starttls-proxy (.*?)(?: > \S+)?$`)
	found := examples.FindAllStringSubmatch(help.Example, -1)
	require.GreaterOrEqual(t, len(found), 5)
	for _, example := range found {
		_ = proxyConfig(t, strings.Fields(example[1])...)
	}
	shown := 0
	for _, file := range documents(t) {
		for _, block := range blocks(t, file) {
			first, rest, _ := strings.Cut(block.text, "\n")
			example := examples.FindStringSubmatch(first)
			if example == nil {
				continue
			}
			args := strings.Fields(example[1])
			config := proxyConfig(t, args...)
			if slices.Contains(args, "--print-config") {
				require.Equal(t, strings.TrimSpace(rest), strings.TrimSpace(config), "%s: %s", file, first)
				shown++
			}
		}
	}
	require.GreaterOrEqual(t, shown, 2)
}
