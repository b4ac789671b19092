package interop

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMailDelivery takes one mail all the way: submitted with a password through
// SMTP, delivered by Postfix to Dovecot, read back through IMAP and POP3.
func TestMailDelivery(t *testing.T) {
	t.Parallel()
	mail := startMail(t)
	text := message("delivery")
	out := mail.python(t, "smtp", messageFile(t, text))
	require.Contains(t, out, " AUTH ")
	mail.dovecot.delivered(t, 1)
	for _, proto := range []string{"imap", "pop3"} {
		requireSameMail(t, text, mail.read(t, proto))
	}
}

// TestMailWithoutPassword shows that the mail in TestMailDelivery was accepted
// because of the password, and that the backend's refusal reaches the client.
func TestMailWithoutPassword(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	c := mail.upgraded(t, "smtp")
	c.send("EHLO client.example")
	c.expect(`^250 .*\n`)
	c.send("MAIL FROM:<" + mailAddress + ">")
	c.expect(`^250 .*\n`)
	c.send("RCPT TO:<" + mailAddress + ">")
	c.expect(`^554 5\.7\.1 .*\n`)
	c.send("QUIT")
	c.end()
}

func TestMailLMTPDelivery(t *testing.T) {
	t.Parallel()
	mail := startMail(t)
	text := message("lmtp")
	mail.python(t, "lmtp", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	requireSameMail(t, text, mail.read(t, "imap"))
}

// TestMailLarge sends 25 MB both ways. A filter that stays in the way of the data,
// or a deadline that stays armed, would show here.
func TestMailLarge(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	mail := startMail(t)
	text := message("large") + largeBody(t)
	mail.python(t, "smtp", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	for _, proto := range []string{"imap", "pop3"} {
		require.Equal(t, bodyHash(t, text), bodyHash(t, mail.read(t, proto)), proto)
	}
}

// largeBody returns 25 MB that do not compress, as an attachment would be, with
// some lines that need their dots stuffed.
func largeBody(t testing.TB) string {
	t.Helper()
	random := make([]byte, 54)
	var body strings.Builder
	for body.Len() < 25_000_000 {
		_, err := rand.Read(random)
		require.NoError(t, err)
		if random[0]%16 == 0 {
			body.WriteByte('.')
		}
		body.WriteString(base64.StdEncoding.EncodeToString(random) + "\r\n")
	}
	return body.String()
}

func bodyHash(t testing.TB, text string) string {
	t.Helper()
	_, body, ok := strings.Cut(strings.ReplaceAll(text, "\r\n", "\n"), "\n\n")
	require.True(t, ok, "a mail without a body")
	return fmt.Sprintf("%d bytes, sha256 %x", len(body), sha256.Sum256([]byte(body)))
}

const sieveScript = `require ["fileinto", "mailbox"];
if header :contains "subject" "sieve" {
	fileinto :create "Filtered";
}
`

// TestMailSieve uploads a script, lists it, reads it back, makes it the active one,
// and sees Dovecot obey it.
func TestMailSieve(t *testing.T) {
	t.Parallel()
	need(t, "sieve-connect")
	mail := startMail(t)
	dir := t.TempDir()
	script := writeFile(t, dir, "filter.sieve", sieveScript)
	back := filepath.Join(dir, "back.sieve")
	mail.sieveConnect(t, "--upload", "--localsieve", script, "--remotesieve", "filter")
	require.Contains(t, mail.sieveConnect(t, "--list"), `"filter"`)
	mail.sieveConnect(t, "--download", "--remotesieve", "filter", "--localsieve", back)
	received, err := os.ReadFile(back)
	require.NoError(t, err)
	require.Equal(t, sieveScript, string(received))
	mail.sieveConnect(t, "--activate", "--remotesieve", "filter")
	require.Contains(t, mail.sieveConnect(t, "--list"), `"filter" ACTIVE`)
	mail.python(t, "lmtp", messageFile(t, message("sieve")))
	filtered, err := filepath.Glob(filepath.Join(mail.dovecot.home, mailUser, "Maildir", ".Filtered", "new", "*"))
	require.NoError(t, err)
	require.Len(t, filtered, 1)
}

// sieveConnect runs a ManageSieve client, which verifies the certificate.
func (f *mailFront) sieveConnect(t testing.TB, args ...string) string {
	t.Helper()
	args = append(args, "--server", "127.0.0.1", "--port", port(t, f.addr["sieve"]), "--nosrv",
		"--tlscafile", f.Root(), "--tlshostname", mailHost, "--dumptlsinfo",
		"--user", mailUser, "--authmech", "PLAIN", "--passwordfd", "0")
	out, err := run(t, clientTimeout, mailPassword+"\n", "sieve-connect", args...)
	require.NoError(t, err, out)
	return out
}

// TestMailSieveByHand sees the raw protocol: the capabilities come unasked after
// TLS, and a script is there again, byte for byte, as a literal.
func TestMailSieveByHand(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	c := mail.upgraded(t, "sieve")
	require.Contains(t, c.expect(`^OK .*\n`), `"SASL" "PLAIN LOGIN"`)
	c.send(`AUTHENTICATE "PLAIN" "` + plainResponse() + `"`)
	c.expect(`^OK .*\n`)
	script := "keep;\r\n"
	c.send(fmt.Sprintf("PUTSCRIPT \"hand\" {%d+}\nkeep;\n", len(script)))
	c.expect(`^OK .*\n`)
	c.send("LISTSCRIPTS")
	require.Contains(t, c.expect(`^OK .*\n`), `"hand"`)
	c.send(`GETSCRIPT "hand"`)
	require.Contains(t, c.expect(`^OK .*\n`), fmt.Sprintf("{%d}\r\n%s", len(script), script))
	c.send("LOGOUT")
	c.expect(`^OK .*\n`)
	c.end()
}

// plainResponse is the user's initial response of SASL PLAIN.
func plainResponse() string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + mailUser + "\x00" + mailPassword))
}
