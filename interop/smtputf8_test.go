package interop

import (
	"fmt"
	"net/smtp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sendingPostfix settings make a Postfix send all that it is given to one server.
const sendingPostfix = `
mynetworks = 127.0.0.0/8
virtual_mailbox_domains =
smtpd_sasl_auth_enable = no
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:%s
smtp_tls_security_level = %s
smtp_tls_loglevel = 1
`

// discardingPostfix settings make the Postfix of startPostfix a public one that keeps nothing:
// Dovecot would not take what follows.
const discardingPostfix = `
smtpd_sasl_auth_enable = no
smtpd_relay_restrictions = reject_unauth_destination
virtual_transport = discard:
`

// utf8Mail needs SMTPUTF8 (RFC 6531): addresses and a header field that are not ASCII.
const utf8Mail = "From: Bj\u00f6rn <bj\u00f6rn@example.net>\r\nTo: <\u00e4lice@example.com>\r\nSubject: Gr\u00fc\u00dfe\r\n\r\nhello\r\n"

// differences begins the warning about our answer to EHLO.
const differences = "the answer to EHLO before TLS"

// TestPostfixSendsSMTPUTF8 has a Postfix as sender. It bounces such a mail for good, with
// 5.6.7, if the answer to EHLO before TLS has no SMTPUTF8, even if it goes on to upgrade.
func TestPostfixSendsSMTPUTF8(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, policy, level string }{
		{"upgrades, as it must", "required", "encrypt"},
		{"upgrades where plaintext would do", "optional", "may"},
		{"stays in plaintext", "optional", "none"},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend, received := startPostfixWith(t, new(dovecot), discardingPostfix, "")
			front := startFront(t, "smtp", []string{"mx.example.com"}, backend, "policy "+test.policy)
			sender, sent := startPostfixWith(t, new(dovecot), fmt.Sprintf(sendingPostfix, port(t, front.addr), test.level),
				"smtp unix - - n - - smtp\n")
			for range 2 {
				require.NoError(t, smtp.SendMail(sender, nil, "bj\u00f6rn@example.net", []string{"\u00e4lice@example.com"}, []byte(utf8Mail)))
			}
			for _, log := range []string{sent, received} {
				awaitSessions(t, logOf(log), "to=<\u00e4lice@example.com>", 2)
				requireLogged(t, log, `to=<\x{e4}lice@example\.com>, .*status=sent`)
			}
			require.Equal(t, test.level != "none", strings.Contains(logOf(sent)(), "TLS connection established"))
			requireDifferences(t, front, test.policy)
		})
	}
}

// requireDifferences requires what the log has to say of our answer to EHLO: nothing where
// nobody goes by it, and else once what Postfix has beside.
func requireDifferences(t testing.TB, front *front, policy string) {
	t.Helper()
	log := front.Log()
	if policy == "required" {
		require.NotContains(t, log, differences)
		return
	}
	require.Contains(t, log, differences+", which is all that clients in plaintext get to see, lacks the backend's CHUNKING, DSN, ETRN, SIZE, VRFY: give")
	require.Equal(t, 1, strings.Count(log, differences))
}
