package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// upgradingPostfix returns settings for a Postfix that would do TLS itself and
// that trusts its clients' word about where they come from, as it trusts a proxy.
func upgradingPostfix(t testing.TB) string {
	t.Helper()
	cert, key := selfSigned(t, "backend.example.com")
	return fmt.Sprintf(`
smtpd_tls_security_level = may
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_authorized_xforward_hosts = 127.0.0.1`, cert, key)
}

// hidden are the capabilities that a client on TLS must not see: a second upgrade,
// and commands with which it would claim to be somebody else.
var hidden = []string{"STARTTLS", "STLS", "XCLIENT", "XFORWARD"}

// TestMailHidesBackendUpgrades has backends behind Caddy that offer an upgrade of
// their own. Clients must not hear of it, nor get there without having heard.
func TestMailHidesBackendUpgrades(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailWith(t, tlsOn(t), upgradingPostfix(t))
	for _, test := range []struct {
		proto                string
		greets               bool
		ask, upgrade         string
		listEnd, mustContain string
		refusal              string
	}{
		{"smtp", false, "EHLO client.example", "STARTTLS", `^250 .*\n`, "250-AUTH PLAIN LOGIN", `^503 .*\n`},
		{"lmtp", false, "LHLO client.example", "STARTTLS", `^250 .*\n`, "250-8BITMIME", `^503 .*\n`},
		{"imap", false, "a CAPABILITY", "b STARTTLS", `^a OK .*\n`, "IMAP4rev1", `^b BAD .*\n`},
		{"pop3", false, "CAPA", "STLS", `^\.\r?\n`, "SASL PLAIN LOGIN", `^-ERR .*\n`},
		{"sieve", true, "CAPABILITY", "STARTTLS", `^OK .*\n`, `"SASL" "PLAIN LOGIN"`, `^NO .*\n`},
	} {
		t.Run(test.proto, func(t *testing.T) {
			c := mail.upgraded(t, test.proto)
			if test.greets {
				requireHidden(t, c.expect(test.listEnd), test.mustContain)
			}
			for range 2 {
				c.send(test.ask)
				requireHidden(t, c.expect(test.listEnd), test.mustContain)
				c.send(test.upgrade)
				c.expect(test.refusal)
			}
		})
	}
}

// requireHidden requires that a list of capabilities is the backend's, and that
// the lines that must not be in it are not.
func requireHidden(t testing.TB, list, mustContain string) {
	t.Helper()
	require.Contains(t, list, mustContain)
	for _, word := range hidden {
		require.NotContains(t, strings.ToUpper(list), word)
	}
}

// TestMailUpgradingBackendDelivers shows that hiding the capabilities leaves the
// rest of such a backend usable, by clients that look at capabilities.
func TestMailUpgradingBackendDelivers(t *testing.T) {
	t.Parallel()
	mail := startMailWith(t, tlsOn(t), upgradingPostfix(t))
	text := message("upgrading backend")
	for _, word := range hidden {
		require.NotContains(t, mail.python(t, "smtp", messageFile(t, text)), word)
	}
	mail.dovecot.delivered(t, len(hidden))
	for _, proto := range []string{"imap", "pop3"} {
		requireSameMail(t, text, mail.read(t, proto))
	}
}

// TestMailUpgradingBackendChunks sends a mail in chunks, in which everything looks
// like a command, past a filter that watches for commands. Then it asks for another
// upgrade, which must still be heard.
func TestMailUpgradingBackendChunks(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailWith(t, tlsOn(t), upgradingPostfix(t))
	text := message("chunks")
	first, last := text[:200], text[200:]
	c := mail.upgraded(t, "smtp")
	for _, line := range []string{
		"EHLO client.example",
		"AUTH PLAIN " + plainResponse(),
		"MAIL FROM:<" + mailAddress + "> BODY=8BITMIME",
		"RCPT TO:<" + mailAddress + ">",
		fmt.Sprintf("BDAT %d\n%s", len(first), strings.ReplaceAll(first, "\r\n", "\n")),
		fmt.Sprintf("BDAT %d LAST\n%s", len(last), strings.ReplaceAll(last, "\r\n", "\n")),
	} {
		c.write(line + map[bool]string{false: "\n"}[strings.HasPrefix(line, "BDAT")])
		c.expect(`^2\d\d .*\n`)
	}
	c.send("STARTTLS")
	c.expect(`^503 .*\n`)
	mail.dovecot.delivered(t, 1)
	requireSameMail(t, text, mail.read(t, "imap"))
}

// TestMailUpgradingBackendPipelining has a client that does not wait for answers.
func TestMailUpgradingBackendPipelining(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	mail := startMailWith(t, tlsOn(t), upgradingPostfix(t))
	out, err := run(t, clientTimeout, "", "swaks", "--pipeline", "--server", "127.0.0.1", "--port", port(t, mail.addr["smtp"]),
		"--tls", "--tls-verify", "--tls-ca-path", mail.Root(), "--helo", "client.example",
		"--from", mailAddress, "--to", mailAddress,
		"--auth", "PLAIN", "--auth-user", mailUser, "--auth-password", mailPassword)
	require.NoError(t, err, out)
	require.Contains(t, out, " ~> RCPT TO:<"+mailAddress+">\n ~> DATA\n", "swaks did not pipeline")
	mail.dovecot.delivered(t, 1)
}

// TestMailXCLIENTRefused sends a command that Postfix would obey, because it comes
// from the proxy's address, and that a client could guess.
func TestMailXCLIENTRefused(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailWith(t, tlsOff, "smtpd_authorized_xclient_hosts = 127.0.0.1")
	c := mail.upgraded(t, "smtp")
	c.send("EHLO client.example")
	c.expect(`^250 .*\n`)
	c.send("XCLIENT ADDR=192.0.2.1")
	require.Regexp(t, `^5\d\d `, c.expect(`^\d\d\d .*\n`))
}

// TestMailRefusesPlaintext sends what needs TLS in plaintext. The refusals are in each
// protocol's words, and the backends never see a connection.
func TestMailRefusesPlaintext(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	mail := startMailFront(t, map[string]string{
		"smtp": backend, "lmtp": backend, "imap": backend, "pop3": backend, "sieve": backend,
	})
	for _, test := range []struct{ proto, greeting, send, want string }{
		{"smtp", "220 ", "MAIL FROM:<a@example.com>", "530 5.7.0 "},
		{"smtp", "220 ", "AUTH PLAIN " + plainResponse(), "530 5.7.0 "},
		{"lmtp", "220 ", "MAIL FROM:<a@example.com>", "530 5.7.0 "},
		{"imap", "* OK ", `a LOGIN alice "open sesame"`, "a NO [PRIVACYREQUIRED] "},
		{"imap", "* OK ", "a AUTHENTICATE PLAIN", "a NO [PRIVACYREQUIRED] "},
		{"pop3", "+OK ", "USER alice", "-ERR "},
		{"pop3", "+OK ", "AUTH PLAIN", "-ERR "},
		{"sieve", "OK ", `AUTHENTICATE "PLAIN" "` + plainResponse() + `"`, "NO (ENCRYPT-NEEDED) "},
	} {
		t.Run(test.proto, func(t *testing.T) {
			c := dialPlain(t, mail.addr[test.proto])
			c.expect(test.greeting)
			c.send(test.send)
			c.expect(test.want)
		})
	}
	require.Zero(t, connections(), "a client that had not upgraded reached the backend")
}

// TestMailRefusesInjection puts a command right behind the upgrade request, as an
// attacker on the path would: it must not be answered, before or in TLS.
func TestMailRefusesInjection(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	mail := startMailFront(t, map[string]string{
		"smtp": backend, "lmtp": backend, "imap": backend, "pop3": backend, "sieve": backend,
	})
	for proto, lines := range map[string]string{
		"smtp":  "STARTTLS\r\nMAIL FROM:<mallory@example.com>\r\n",
		"lmtp":  "STARTTLS\r\nMAIL FROM:<mallory@example.com>\r\n",
		"imap":  "a STARTTLS\r\nb NOOP\r\n",
		"pop3":  "STLS\r\nCAPA\r\n",
		"sieve": "STARTTLS\r\nCAPABILITY\r\n",
	} {
		t.Run(proto, func(t *testing.T) {
			c := dialPlain(t, mail.addr[proto])
			c.expect(map[string]string{"imap": "* OK ", "pop3": "+OK ", "sieve": "OK "}[proto])
			c.send(strings.TrimSuffix(lines, "\r\n"))
			require.NotRegexp(t, `(?m)^(a OK|\+OK|OK|220)`, c.rest(), "the upgrade went ahead")
		})
	}
	require.Zero(t, connections())
}

// TestMailBackendDown has nothing listen behind Caddy. The client is on TLS by
// then, and hears of it in its own protocol.
func TestMailBackendDown(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	backends := make(map[string]string)
	for _, proto := range mailProtocols {
		backends[proto] = freeAddr(t)
	}
	mail := startMailFront(t, backends)
	for _, test := range []struct{ proto, send, want string }{
		{"smtp", "EHLO client.example", `^421 .*\n`},
		{"lmtp", "LHLO client.example", `^421 .*\n`},
		{"imap", "a CAPABILITY", `^\* BYE \[UNAVAILABLE\] .*\n`},
		{"pop3", "CAPA", `^-ERR .*\n`},
		{"sieve", "", `^BYE .*\n`},
	} {
		t.Run(test.proto, func(t *testing.T) {
			c := mail.upgraded(t, test.proto)
			if test.send != "" {
				c.stdin.Write([]byte(test.send + "\n")) // may find the connection closed already
			}
			c.expect(test.want)
			require.Empty(t, c.end())
		})
	}
}

// TestMailBackendRefuses has a Postfix that wants none of us. Its greeting says so,
// which a client past the greeting gets as the answer to its EHLO.
func TestMailBackendRefuses(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailWith(t, tlsOff, "smtpd_client_restrictions = reject\nsmtpd_delay_reject = no")
	c := mail.upgraded(t, "smtp")
	c.send("EHLO client.example")
	c.expect(`\A554 5\.7\.1 .*\n`)
	c.send("QUIT")
	c.expect(`^221 .*\n`)
	require.Empty(t, c.end())
}

// TestMailBackendCloses has Dovecot end the session. The client must see the end,
// not wait for it.
func TestMailBackendCloses(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMail(t)
	for proto, quit := range map[string]string{
		"smtp": "QUIT", "lmtp": "QUIT", "imap": "a LOGOUT", "pop3": "QUIT", "sieve": "LOGOUT",
	} {
		t.Run(proto, func(t *testing.T) {
			c := mail.upgraded(t, proto)
			c.send(quit)
			require.Regexp(t, `(?m)^(221|a OK|\+OK|OK) `, c.end())
		})
	}
}
