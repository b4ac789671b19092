package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// mailHost is the first hostname of every front, and so its default certificate.
const mailHost = "mail.example.com"

// mailProtocols are the protocols of a mail server, by their names in the
// Caddyfile, which are also those of openssl and gnutls-cli.
var mailProtocols = []string{"smtp", "lmtp", "imap", "pop3", "sieve"}

// mailServer is Caddy in front of a whole mail server, and that mail server.
type mailServer struct {
	*mailFront
	dovecot *dovecot
}

// startMail runs a mail server that knows nothing of TLS, and Caddy in front.
func startMail(t testing.TB) *mailServer {
	t.Helper()
	return startMailWith(t, tlsOff, "")
}

// startMailWith is startMail with settings for Dovecot and Postfix.
func startMailWith(t testing.TB, dovecotTLS, postfixExtra string) *mailServer {
	t.Helper()
	d := startDovecot(t, dovecotTLS)
	return &mailServer{dovecot: d, mailFront: startMailFront(t, map[string]string{
		"smtp":  startPostfix(t, d, postfixExtra),
		"lmtp":  d.lmtp,
		"imap":  d.imap,
		"pop3":  d.pop3,
		"sieve": d.sieve,
	})}
}

// mailFront is a Caddy that upgrades mail protocols, each on an address of its own.
type mailFront struct {
	*caddyServer
	addr map[string]string
}

// startMailFront runs Caddy in front of the backends, which are keyed by protocol.
func startMailFront(t testing.TB, backends map[string]string) *mailFront {
	t.Helper()
	f := &mailFront{addr: make(map[string]string)}
	var config strings.Builder
	var addrs []string
	for proto, backend := range backends {
		f.addr[proto] = freeAddr(t)
		addrs = append(addrs, f.addr[proto])
		fmt.Fprintf(&config, `
		%s {
			route {
				starttls %s %s localhost
				proxy %s
			}
		}`, f.addr[proto], proto, mailHost, backend)
	}
	f.caddyServer = startCaddy(t, config.String(), []string{mailHost, "localhost"}, addrs...)
	return f
}

// upgraded is an s_client that has upgraded to one of the protocols.
func (f *mailFront) upgraded(t testing.TB, proto string) *dialogue {
	t.Helper()
	return upgraded(t, f.caddyServer, proto, f.addr[proto], mailHost)
}

// python runs testdata/mail.py, which sends the file or reads a mail into it, and
// requires that it verified the certificate. It returns what the client printed.
func (f *mailFront) python(t testing.TB, proto, file string) string {
	t.Helper()
	need(t, "python3")
	out, err := run(t, time.Minute, "", "python3", "testdata/mail.py", proto, port(t, f.addr[proto]),
		f.Root(), mailUser, mailPassword, mailAddress, file)
	require.NoError(t, err, out)
	require.Contains(t, out, "verified: localhost\n")
	return out
}

// read reads the first mail with one of Python's clients.
func (f *mailFront) read(t testing.TB, proto string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mail")
	f.python(t, proto, file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}

// delivered waits until the mailbox holds a number of mails.
func (d *dovecot) delivered(t testing.TB, count int) {
	t.Helper()
	eventually(t, startTimeout, fmt.Sprintf("%d mails", count), func() bool {
		return len(d.mails()) >= count
	})
}

// mails returns the files in the mailbox.
func (d *dovecot) mails() []string {
	mails, _ := filepath.Glob(filepath.Join(d.home, mailUser, "Maildir", "[nc]*", "*,S=*"))
	return mails
}

// message returns a mail with the given subject, and with what breaks a mail when
// somebody on its way takes lines for more than bytes: leading dots, a command,
// a long line, octets above 127, blanks at the end of a line.
func message(subject string) string {
	return strings.Join([]string{
		"From: " + mailAddress, "To: " + mailAddress, "Subject: " + subject,
		"Date: Mon, 02 Jan 2006 15:04:05 +0000", "Message-ID: <1@client.example>",
		"MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit",
		"",
		".", "..", ".leading dot", "STARTTLS", "QUIT", strings.Repeat("x", 900),
		"Grüße aus Zürich", "blanks at the end  \t ", "", "the end", "",
	}, "\r\n")
}

// messageFile writes a mail where clients can read it.
func messageFile(t testing.TB, text string) string {
	t.Helper()
	return writeFile(t, t.TempDir(), "mail.eml", text)
}

// requireSameMail compares a mail as it was read with the mail as it was sent. The
// servers in between add header fields in front, and clients differ in line ends.
func requireSameMail(t testing.TB, sent, received string) {
	t.Helper()
	sent = strings.ReplaceAll(sent, "\r\n", "\n")
	received = strings.ReplaceAll(received, "\r\n", "\n")
	start := max(0, len(received)-len(sent))
	require.Equal(t, sent, received[start:], "after %q", received[:start])
}
