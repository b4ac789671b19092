package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// newsHome is the home of somebody who reads the one group, has read nothing of it, and has a password.
func newsHome(t testing.TB) (home string) {
	t.Helper()
	home = t.TempDir()
	writeFile(t, home, ".newsrc", newsGroup+":\n")
	writeFile(t, home, ".slrnrc", `set hostname "example.com"`+"\n"+`nnrpaccess "localhost" "`+mailUser+`" "`+mailPassword+"\"\n")
	writeFile(t, home, ".newsauth", `localhost "`+mailPassword+`" `+mailUser+"\n")
	require.NoError(t, os.Chmod(filepath.Join(home, ".newsauth"), 0o600))
	return home
}

// newsReader runs a reader, which is ended after a while.
func newsReader(t testing.TB, typed string, command ...string) (out string, err error) {
	t.Helper()
	need(t, "timeout", command[0])
	cmd := exec.Command("timeout", append([]string{"8"}, command...)...)
	cmd.Env = append(os.Environ(), "HOME="+newsHome(t), "TERM=vt100", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(typed)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// tin and slrn know no STARTTLS: they have TLS from the start, or plaintext where they may. tin -Z ends with 2 if
// there is news. slrn accepts any certificate.
func TestNewsReaders(t *testing.T) {
	t.Parallel()
	n := startINN(t, "")
	f := func(options ...string) *front {
		return startFront(t, "nntp", []string{nntpHost, "localhost"}, n.reader, options...)
	}
	required, optional := f("implicit_tls"), f("policy optional", "allow_plaintext_auth")
	out, err := optional.newsPython(t, "-")
	require.NoError(t, err, out)
	tin := func(f *front, status int, words string, options ...string) {
		out, err := newsReader(t, "", append([]string{"tin", "-r", "-A", "-Z", "-n", "-g", "localhost", "-p", port(t, f.addr)}, options...)...)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, out)
		require.Equal(t, status, exit.ExitCode(), out)
		require.Contains(t, out, words)
	}
	tin(optional, 2, "")
	tin(required, 1, "Server expects authentication.")
	tin(required, 2, "", "-T", "-k")
	tin(required, 1, "unable to get local issuer certificate", "-T")
	for url, words := range map[string]string{
		"snews://localhost:" + port(t, required.addr): "Connected to host.  Posting ok.",
		"localhost -p " + port(t, optional.addr):      "Connected to host.  Posting ok.",
		"localhost -p " + port(t, required.addr):      "Failed to initialize server.",
	} {
		need(t, "slrn")
		out, _ := newsReader(t, "", "script", "-qec", "slrn -f $HOME/.newsrc -h "+url, "/dev/null")
		require.Contains(t, out, words, url)
	}
}
