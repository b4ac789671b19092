package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// startMailBehind is startMail with lines for the handlers' blocks.
func startMailBehind(t testing.TB, options string) *mailServer {
	t.Helper()
	return startMailBehindWith(t, options, tlsOff, "")
}

// startMailBehindWith is startMailBehind with settings for Dovecot and Postfix.
func startMailBehindWith(t testing.TB, options, dovecotTLS, postfixExtra string) *mailServer {
	t.Helper()
	d := startDovecot(t, dovecotTLS)
	mail := &mailServer{dovecot: d, mailFront: &mailFront{addr: make(map[string]string)}}
	var config strings.Builder
	var addrs []string
	for proto, backend := range map[string]string{
		"smtp": startPostfix(t, d, postfixExtra), "lmtp": d.lmtp, "imap": d.imap, "pop3": d.pop3, "sieve": d.sieve,
	} {
		mail.addr[proto] = freeAddr(t)
		addrs = append(addrs, mail.addr[proto])
		fmt.Fprintf(&config, `
		%s {
			route {
				starttls %s %s localhost {
					%s
				}
				proxy %s
			}
		}`, mail.addr[proto], proto, mailHost, options, backend)
	}
	mail.caddyServer = startCaddy(t, config.String(), []string{mailHost, "localhost"}, addrs...)
	return mail
}

// TestMailOptional has clients that want no TLS. They get through to the backend
// in plaintext, with what they said before that replayed to it. Some insist on a mechanism
// that must have been announced.
func TestMailOptional(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	mail := startMailBehind(t, "policy optional\nallow_plaintext_auth")
	text := message("optional")
	mail.curlInClear(t, "smtp", "/client.example", "--mail-from", mailAddress, "--mail-rcpt", mailAddress, "-T", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	for proto, path := range map[string]string{"imap": "/INBOX;MAILINDEX=1", "pop3": "/1"} {
		for name, options := range map[string][]string{"best": nil, "mechanism": {"--login-options", "AUTH=PLAIN"}} {
			t.Run(proto+" "+name, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "mail")
				mail.curlInClear(t, proto, path, append(options, "-o", file)...)
				received, err := os.ReadFile(file)
				require.NoError(t, err)
				requireSameMail(t, text, string(received))
				require.Contains(t, string(received), "Received: from client.example ", "the EHLO name was not replayed")
			})
		}
	}
}

// curlInClear logs in without TLS.
func (f *mailFront) curlInClear(t testing.TB, proto, path string, args ...string) {
	t.Helper()
	args = append(args, "-sSv", "-u", mailUser+":"+mailPassword, proto+"://"+f.addr[proto]+path)
	out, err := run(t, clientTimeout, "", "curl", args...)
	require.NoError(t, err, out)
	require.NotContains(t, out, "TLSv1")
}

// TestMailOptionalUpgrade shows that the same listeners still upgrade whoever asks.
func TestMailOptionalUpgrade(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailBehind(t, "policy optional")
	text := message("optional upgrade")
	mail.python(t, "smtp", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	for _, proto := range []string{"imap", "pop3"} {
		requireSameMail(t, text, mail.read(t, proto))
	}
	for _, proto := range mailProtocols {
		requireVerified(t, mail.caddyServer, proto, mail.addr[proto], mailHost)
	}
}

// TestMailOptionalRefusesPasswords has clients that would send one in plaintext, which
// takes more than policy optional.
func TestMailOptionalRefusesPasswords(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	for _, test := range []struct{ proto, greeting, send, want string }{
		{"smtp", "220 ", "AUTH PLAIN " + plainResponse(), "530 5.7.0 "},
		{"imap", "* OK ", `a LOGIN alice "open sesame"`, "a NO [PRIVACYREQUIRED] "},
		{"pop3", "+OK ", "USER alice", "-ERR "},
		{"sieve", "OK ", `AUTHENTICATE "PLAIN" "` + plainResponse() + `"`, "NO (ENCRYPT-NEEDED) "},
	} {
		f := startFront(t, test.proto, []string{mailHost}, backend, "policy optional")
		c := dialPlain(t, f.addr)
		c.expect(test.greeting)
		c.send(test.send)
		c.expect(test.want)
	}
	require.Zero(t, connections(), "a password in plaintext reached the backend")
}
