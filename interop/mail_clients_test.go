package interop

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clientTimeout is for one run of a client that has little to do.
const clientTimeout = 20 * time.Second

func TestMailOpenSSL(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	for _, proto := range mailProtocols {
		t.Run(proto, func(t *testing.T) {
			requireVerified(t, mail.caddyServer, proto, mail.addr[proto], mailHost)
			requireVerified(t, mail.caddyServer, proto, mail.addr[proto], "localhost")
		})
	}
}

func TestMailGnuTLS(t *testing.T) {
	t.Parallel()
	need(t, "gnutls-cli")
	mail := startMail(t)
	for _, proto := range mailProtocols {
		t.Run(proto, func(t *testing.T) {
			out, err := run(t, clientTimeout, "", "gnutls-cli", "--starttls-proto", proto,
				"--x509cafile", mail.Root(), "--sni-hostname", mailHost, "--verify-hostname", mailHost,
				"--port", port(t, mail.addr[proto]), "127.0.0.1")
			require.NoError(t, err, out)
			require.Contains(t, out, "The certificate is trusted.")
			require.Contains(t, out, "Handshake was completed")
		})
	}
}

func TestMailCurl(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	mail := startMail(t)
	text := message("curl")
	curl := func(t *testing.T, proto, path string, args ...string) string {
		t.Helper()
		where := mailHost + ":" + port(t, mail.addr[proto])
		args = append(args, "-sSv", "--ssl-reqd", "--cacert", mail.Root(), "--resolve", where+":127.0.0.1",
			"-u", mailUser+":"+mailPassword, proto+"://"+where+path)
		out, err := run(t, clientTimeout, "", "curl", args...)
		require.NoError(t, err, out)
		require.Contains(t, out, "SSL certificate verify ok.")
		require.Contains(t, out, `subjectAltName: host "mail.example.com" matched`)
		return out
	}
	out := curl(t, "smtp", "/client.example", "--mail-from", mailAddress, "--mail-rcpt", mailAddress, "-T", messageFile(t, text))
	require.Contains(t, out, "235 2.7.0 Authentication successful")
	mail.dovecot.delivered(t, 1)
	for proto, path := range map[string]string{"imap": "/INBOX;MAILINDEX=1", "pop3": "/1"} {
		file := filepath.Join(t.TempDir(), "mail")
		curl(t, proto, path, "-o", file)
		received, err := os.ReadFile(file)
		require.NoError(t, err)
		requireSameMail(t, text, string(received))
	}
}

func TestMailSwaks(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	mail := startMail(t)
	for i, proto := range []string{"smtp", "lmtp"} {
		t.Run(proto, func(t *testing.T) {
			certificate := filepath.Join(t.TempDir(), "peer.pem")
			args := []string{
				"--protocol", map[string]string{"smtp": "ESMTP", "lmtp": "LMTP"}[proto],
				"--server", "127.0.0.1", "--port", port(t, mail.addr[proto]),
				"--tls", "--tls-verify", "--tls-ca-path", mail.Root(), "--tls-get-peer-cert", certificate,
				"--helo", "client.example", "--from", mailAddress, "--to", mailAddress,
			}
			if proto == "smtp" {
				args = append(args, "--auth", "PLAIN", "--auth-user", mailUser, "--auth-password", mailPassword)
			}
			out, err := run(t, clientTimeout, "", "swaks", args...)
			require.NoError(t, err, out)
			require.Contains(t, out, "=== TLS started with cipher TLSv1.3")
			require.Contains(t, out, " ~> QUIT")
			// swaks verifies the chain and never the name. It sends no SNI either, so
			// this also shows which certificate is the default.
			requireCertificateFor(t, certificate, mailHost)
			mail.dovecot.delivered(t, i+1)
		})
	}
}

func requireCertificateFor(t testing.TB, file, host string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block, "%s", text)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	require.NoError(t, certificate.VerifyHostname(host))
}

func TestMailMsmtp(t *testing.T) {
	t.Parallel()
	need(t, "msmtp")
	mail := startMail(t)
	host, port, err := net.SplitHostPort(mail.addr["smtp"])
	require.NoError(t, err)
	text := message("msmtp")
	out, err := run(t, clientTimeout, text, "msmtp", "--debug", "--host="+host, "--port="+port,
		"--tls=on", "--tls-starttls=on", "--tls-trust-file="+mail.Root(), "--tls-host-override="+mailHost,
		"--auth=plain", "--user="+mailUser, "--passwordeval=echo '"+mailPassword+"'",
		"--from="+mailAddress, mailAddress)
	require.NoError(t, err, out)
	require.Contains(t, out, "--> STARTTLS")
	require.Contains(t, out, "<-- 235 2.7.0 Authentication successful")
	mail.dovecot.delivered(t, 1)
	requireSameMail(t, text, mail.read(t, "imap"))
}

func TestMailMpop(t *testing.T) {
	t.Parallel()
	need(t, "mpop")
	mail := startMail(t)
	text := message("mpop")
	mail.python(t, "lmtp", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	inbox := filepath.Join(t.TempDir(), "inbox")
	out, err := run(t, clientTimeout, "", "mpop", "--debug", "--host=127.0.0.1", "--port="+port(t, mail.addr["pop3"]),
		"--tls=on", "--tls-starttls=on", "--tls-trust-file="+mail.Root(), "--tls-host-override="+mailHost,
		"--auth=user", "--user="+mailUser, "--passwordeval=echo '"+mailPassword+"'", "--keep=on",
		"--delivery=mbox,"+inbox, "--uidls-file="+inbox+".uidls", "--received-header=off")
	require.NoError(t, err, out)
	require.Contains(t, out, "--> STLS")
	received, err := os.ReadFile(inbox)
	require.NoError(t, err)
	requireSameMail(t, text+"\n", string(received))
}

func TestMailMbsync(t *testing.T) {
	t.Parallel()
	need(t, "mbsync")
	mail := startMail(t)
	text := message("mbsync")
	mail.python(t, "lmtp", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	dir := t.TempDir()
	config := writeFile(t, dir, "mbsyncrc", `
IMAPStore far
Host localhost
Port `+port(t, mail.addr["imap"])+`
User `+mailUser+`
Pass "`+mailPassword+`"
SSLType STARTTLS
SystemCertificates no
CertificateFile `+mail.Root()+`

MaildirStore near
Inbox `+dir+`/inbox

Channel all
Far :far:
Near :near:
Create Near
SyncState *
`)
	out, err := run(t, clientTimeout, "", "mbsync", "--verbose", "--config", config, "all")
	require.NoError(t, err, out)
	require.Contains(t, out, "Connection is now encrypted")
	received, err := filepath.Glob(filepath.Join(dir, "inbox", "*", "*,*"))
	require.NoError(t, err)
	require.Len(t, received, 1, out)
	content, err := os.ReadFile(received[0])
	require.NoError(t, err)
	// mbsync adds a field of its own, to find the mail again.
	stored := regexp.MustCompile(`(?m)^X-TUID: .*\n`).ReplaceAllString(string(content), "")
	requireSameMail(t, text, stored)
}
