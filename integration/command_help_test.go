package integration_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// output is what a command of Caddy's prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	cmd := (&process{instance: newInstance(t)}).command(args...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil {
		require.ErrorAs(t, err, &exit)
		require.NoError(t, err, string(exit.Stderr))
	}
	return string(out)
}

// A manual page has all that the help has. It is made of Markdown, which takes what is in
// angle brackets for HTML.
func TestManualPages(t *testing.T) {
	dir := t.TempDir()
	output(t, "manpage", "--directory", dir)
	for _, name := range []string{"starttls-probe", "starttls-proxy"} {
		page, err := os.ReadFile(filepath.Join(dir, "caddy-"+name+".8"))
		require.NoError(t, err)
		text := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fP`, "", `\fR`, "", `\[la]`, "<", `\[ra]`, ">", `\&`, "", `\[aq]`, "'", `\\`, `\`).Replace(string(page))
		text = strings.Join(strings.Fields(text), " ")
		command := caddycmd.Commands()[name]
		cmd := &cobra.Command{Use: command.Name + " " + command.Usage, Short: command.Short, Long: command.Long}
		command.CobraFunc(cmd)
		require.Contains(t, text, command.Usage, "%s: the synopsis", name)
		require.Contains(t, text, command.Short)
		for paragraph := range strings.SplitSeq(strings.TrimSpace(command.Long), "\n\n") {
			for line := range strings.Lines(paragraph) {
				require.Contains(t, text, strings.Join(strings.Fields(line), " "), name)
			}
		}
		for line := range strings.Lines(cmd.Example) {
			require.Contains(t, text, strings.TrimSpace(line), name)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			require.Contains(t, text, "--"+f.Name, name)
			require.Contains(t, text, strings.Join(strings.Fields(f.Usage), " "), name)
		})
	}
}

// Shells complete the protocols that a command has a use for, its flags, and the values of
// those that have a few.
func TestCompletion(t *testing.T) {
	complete := func(args ...string) []string {
		lines := strings.Split(strings.TrimSpace(output(t, append([]string{"__complete"}, args...)...)), "\n")
		require.Equal(t, ":4", lines[len(lines)-1], "no files")
		return lines[:len(lines)-1]
	}
	var requestable, acceptable []string
	for _, p := range upgrade.Protocols() {
		if p.Request != nil {
			requestable = append(requestable, p.Name)
		}
		if p.Accept != nil || p.EarlyDial {
			acceptable = append(acceptable, p.Name)
		}
	}
	require.Equal(t, requestable, complete("starttls-probe", ""))
	require.Equal(t, acceptable, complete("starttls-proxy", ""))
	require.Empty(t, complete("starttls-probe", "smtp", ""))
	require.Equal(t, []string{"starttls", "implicit"}, complete("starttls-proxy", "smtp", "--upstream-tls="))
	flags := strings.Join(complete("starttls-probe", "smtp", "--mta"), "\n")
	require.Contains(t, flags, "--mta-sts\t")
	require.Contains(t, flags, "--mta-sts-domain\t")
	script := []byte(output(t, "completion", "bash"))
	for _, want := range []string{"_caddy_starttls-probe()", "_caddy_starttls-proxy()", `flags+=("--implicit-tls")`} {
		require.True(t, bytes.Contains(script, []byte(want)), want)
	}
}

// What is wrong with a command line is one line, for people, that says what to do; none of it is
// an entry of a log.
func TestUsageMistakesArePlain(t *testing.T) {
	for args, want := range map[string]string{
		"starttls-probe":                              "an argument is missing: PROTOCOL HOST[:PORT]",
		"starttls-probe smtp":                         "no host to probe",
		"starttls-probe smtp a b":                     `there is no place for "b" behind PROTOCOL HOST[:PORT]`,
		"starttls-probe smpt 127.0.0.1":               `unknown protocol "smpt"; must be one of: `,
		"starttls-probe smtp 127.0.0.1 --secure":      "unknown flag: --secure",
		"starttls-probe smtp 127.0.0.1:99999":         `unknown port "99999"`,
		"starttls-probe smtp 127.0.0.1 --timeout 5":   `invalid argument "5" for "--timeout" flag`,
		"starttls-proxy":                              "an argument is missing: PROTOCOL",
		"starttls-proxy smtp":                         "--from is required",
		"starttls-proxy smtp --from localhost:0":      `unknown port "0"`,
		"starttls-proxy smpt --from a --to b":         `unknown protocol "smpt"; must be one of: `,
		"starttls-proxy smtp --from a --to b --tls":   "unknown flag: --tls",
		"starttls-proxy smtp --from a --to b --pause": "flag needs an argument: --pause",
	} {
		t.Run(args, func(t *testing.T) {
			cmd := (&process{instance: newInstance(t)}).command(strings.Fields(args)...)
			out, err := cmd.Output()
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 1, exit.ExitCode())
			require.Empty(t, out)
			lines := strings.Split(strings.TrimSpace(string(exit.Stderr)), "\n")
			require.Len(t, lines, 1)
			require.True(t, strings.HasPrefix(lines[0], "Error: "), lines[0])
			require.Contains(t, lines[0], want)
			require.Contains(t, lines[0], "; see 'caddy "+strings.Fields(args)[0]+" --help'")
		})
	}
}

// The help ends where there is more to read, and that is there.
func TestHelpNamesItsDocument(t *testing.T) {
	for _, name := range []string{"starttls-probe", "starttls-proxy"} {
		out := output(t, name, "--help")
		document := "docs/commands/" + name + ".md"
		require.True(t, strings.HasSuffix(out, "\nFull documentation is available at:\n"+
			"https://github.com/l4starttls/caddy-l4-starttls/blob/main/"+document+"\n"), out)
		require.Equal(t, 1, strings.Count(out, "Full documentation"))
		require.FileExists(t, filepath.Join("..", document))
	}
	require.Contains(t, output(t, "run", "--help"), "https://caddyserver.com/docs/command-line", "Caddy's own has its own")
}
