package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// smtpdHost is the name by which Caddy knows OpenSMTPD.
const smtpdHost = "mail.internal"

// smtpdConf is that of the example's README, but for what is delivered to other servers.
const smtpdConf = `
pki mail.internal cert "/etc/cert.pem"
pki mail.internal key "/etc/key.pem"
table credentials file:/etc/credentials
listen on 127.0.0.1 port %s proxy-v2 hostname mail.example.com
listen on 127.0.0.1 port %s proxy-v2 tls-require pki mail.internal auth <credentials> hostname mail.example.com
action "local" maildir "/home/%%{user.username}/Maildir"
match from any for domain "example.com" action "local"
match auth from any for any action "local"
`

// The users of the jail, in the order of their numbers from jailedID on.
const jailedID = 901

// startOpenSMTPD runs it in a jail, where it has users of its own, and says where mails are delivered to.
func startOpenSMTPD(t testing.TB) (forServers, forUsers, cert, maildir string, p *process) {
	t.Helper()
	users := ""
	for i, name := range []string{"opensmtpd", "opensmtpq", mailUser} {
		users += fmt.Sprintf("%s:x:%[2]d:%[2]d::/home/%[1]s:/bin/sh\n", name, jailedID+i)
	}
	j := newJail(t, "OPENSMTPD_ROOT", []string{"/usr/sbin/smtpd", "/usr/libexec/opensmtpd/mail.maildir"}, users)
	dir := j.dir
	forServers, forUsers = freeAddr(t), freeAddr(t)
	cert = filepath.Join(dir, "etc/cert.pem")
	out, err := run(t, clientTimeout, "", "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN="+smtpdHost,
		"-addext", "subjectAltName=DNS:"+smtpdHost, "-keyout", filepath.Join(dir, "etc/key.pem"), "-out", cert)
	require.NoError(t, err, out)
	require.NoError(t, os.Chmod(filepath.Join(dir, "etc/key.pem"), 0o600))
	for name, text := range map[string]string{
		"group": regexp.MustCompile(`(?m):x:(\d+):.*`).ReplaceAllString(users, ":x:$1:"), "mailname": "mail.example.com\n", "hosts": "127.0.0.1 localhost\n", "credentials": mailUser + " " + passwordHash(t, mailPassword) + "\n",
		"smtpd.conf": fmt.Sprintf(smtpdConf, port(t, forServers), port(t, forUsers)),
	} {
		writeFile(t, dir, "etc/"+name, text)
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "etc/smtpd.conf"), 0o600))
	require.NoError(t, os.Chown(filepath.Join(dir, "etc/credentials"), 0, jailedID))
	for _, at := range []string{"var/run", "var/lib/opensmtpd/empty", "var/spool/smtpd"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, at), 0o711))
	}
	home := filepath.Join(dir, "home", mailUser)
	require.NoError(t, os.MkdirAll(home, 0o755))
	require.NoError(t, os.Chown(home, jailedID+2, jailedID+2))
	p = startCmd(t, j.command("/usr/sbin/smtpd", "-d", "-f", "/etc/smtpd.conf"))
	waitTCP(t, forServers)
	waitTCP(t, forUsers)
	return forServers, forUsers, cert, filepath.Join(home, "Maildir"), p
}

// TestExampleOpenSMTPD has servers deliver, with TLS and without, whose address OpenSMTPD learns. Debian's 6.8 fails at every
// handshake of its own, with OpenSSL 3, so that its users, whom it wants TLS for, are told that there is none.
func TestExampleOpenSMTPD(t *testing.T) {
	t.Parallel()
	need(t, "swaks", "openssl")
	servers, users, cert, maildir, server := startOpenSMTPD(t)
	mx, direct, submission := freeAddr(t), freeAddr(t), freeAddr(t)
	c := startExample(t, "opensmtpd", "", map[string]string{
		":25": mx, ":465": direct, ":587": submission, "127.0.0.1:10025": servers, "127.0.0.1:10587": users,
		"/etc/ssl/mail/fullchain.pem": cert,
	}, []string{mailHost}, mx, direct, submission)
	swaks := func(args ...string) (string, error) {
		return run(t, clientTimeout, "", "swaks", append([]string{"--server", "127.0.0.1", "--local-interface", proxyClient,
			"--helo", "client.example", "--from", "bob@example.net", "--to", mailAddress}, args...)...)
	}
	verified := []string{"--tls-verify", "--tls-ca-path", c.Root()}
	for i, args := range [][]string{append(verified, "--port", port(t, mx), "--tls"), {"--port", port(t, mx)}} {
		out, err := swaks(args...)
		require.NoError(t, err, out)
		eventually(t, startTimeout, "a mail", func() bool {
			mails, _ := filepath.Glob(filepath.Join(maildir, "new", "*"))
			return len(mails) == i+1
		})
	}
	requireLogged(t, server.LogFile(), `smtp connected address=127\.0\.0\.9 `)
	out, err := swaks("--port", port(t, mx), "--to", "eve@elsewhere.example")
	require.Error(t, err, out)
	require.Contains(t, out, "550 Invalid recipient", "nobody relays")
	for _, args := range [][]string{{"--port", port(t, submission), "--tls"}, {"--port", port(t, direct), "--tls-on-connect"}} {
		out, err := swaks(append(verified, args...)...)
		require.Error(t, err, out)
		require.Contains(t, out, "421 4.7.5 mail.internal TLS with upstream failed")
	}
	requireLogged(t, server.LogFile(), `(?s)(smtp connected address=127\.0\.0\.9 .*){5}`)
	require.NotRegexp(t, `smtp connected address=127\.0\.0\.1 `, server.Log())
}
