package interop

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// monitoringPlugins is where Debian keeps the plugins of Nagios, Icinga and their kin.
const monitoringPlugins = "/usr/lib/nagios/plugins"

// plugin runs one of them, which must find nothing wrong, with settings in its environment.
func plugin(t testing.TB, environment []string, name string, args ...string) string {
	t.Helper()
	path := filepath.Join(monitoringPlugins, name)
	if _, err := os.Stat(path); err != nil {
		unavailable(t, "%s is not installed", path)
	}
	out, err := run(t, clientTimeout, "", "env", append(append(environment, path), args...)...)
	require.NoError(t, err, out)
	return out
}

// TestMonitoringPluginsMail has the plugins look at mail servers, in plaintext, after an
// upgrade and with TLS from the first byte.
func TestMonitoringPluginsMail(t *testing.T) {
	t.Parallel()
	mail := startMailBehind(t, "implicit_tls")
	for _, test := range []struct {
		proto string
		args  []string
		says  string
	}{
		{"smtp", []string{"check_smtp"}, "SMTP OK"},
		{"smtp", []string{"check_smtp", "-S", "-F", "monitor.example"}, "SMTP OK"},
		{"smtp", []string{"check_smtp", "-S", "-A", "LOGIN", "-U", mailUser, "-P", mailPassword}, "SMTP OK"},
		{"smtp", []string{"check_smtp", "-C", "MAIL FROM:<a@example.net>", "-R", "530"}, "SMTP OK"},
		{"smtp", []string{"check_ssmtp"}, "SSMTP OK"},
		{"imap", []string{"check_imap"}, "IMAP OK"},
		{"imap", []string{"check_imap", "-E", "-s", `a CAPABILITY\r\n`, "-e", "STARTTLS"}, "IMAP OK"},
		{"imap", []string{"check_simap"}, "SIMAP OK"},
		{"pop3", []string{"check_pop"}, "POP OK"},
		{"pop3", []string{"check_spop"}, "SPOP OK"},
	} {
		args := append(test.args[1:], "-H", "127.0.0.1", "-p", port(t, mail.addr[test.proto]))
		require.Contains(t, plugin(t, nil, test.args[0], args...), test.says, "%q", test.args)
	}
}

// TestMonitoringPluginLDAP has it verify the certificate, and read the root of the directory.
func TestMonitoringPluginLDAP(t *testing.T) {
	t.Parallel()
	f := startLDAPFront(t, startSlapd(t))
	out := plugin(t, []string{"LDAPTLS_CACERT=" + f.Root(), "LDAPTLS_REQCERT=demand"}, "check_ldap",
		"-H", ldapHost, "-p", port(t, f.addr), "-3", "-T", "-b", "dc=example,dc=com", "-D", ldapUser, "-P", ldapPassword)
	require.Contains(t, out, "LDAP OK")
}

// TestMonitoringPluginPostgres has it verify the certificate, and ask a question.
func TestMonitoringPluginPostgres(t *testing.T) {
	t.Parallel()
	f := startFront(t, "postgres", []string{"localhost"}, startPostgres(t).addr)
	out := plugin(t, []string{"PGSSLMODE=verify-full", "PGSSLROOTCERT=" + f.Root()}, "check_pgsql",
		"-H", f.host, "-P", port(t, f.addr), "-d", "postgres", "-l", pgUser, "-p", pgPassword, "-q", "SELECT 6*7")
	require.Contains(t, out, "42")
}
