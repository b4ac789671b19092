package interop

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// trustingPostfix settings make a Postfix do what it can for Caddy's address: it takes
// TLS of its own, and its word for who the client is. To the addresses that attacks
// claim it relays.
const trustingPostfix = `
mynetworks = 203.0.113.0/24
smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination
smtpd_tls_loglevel = 1
smtpd_error_sleep_time = 0
`

// trustingServices are the same Postfix as it refuses a client in its greeting, and in its
// answer to EHLO, and without chunking.
const trustingServices = `%s inet n - n - - smtpd -o smtpd_client_restrictions=reject -o smtpd_delay_reject=no
%s inet n - n - - smtpd -o smtpd_helo_restrictions=reject -o smtpd_delay_reject=no
%s inet n - n - - smtpd -o smtpd_discard_ehlo_keywords=chunking
`

const smtpReply = `(250-.*\r\n)*250 .*\r\n`

// smtpStranger goes on behind an attack: to the backend the client is still a stranger,
// for whom nothing is relayed.
var smtpStranger = [][2]string{
	{"RSET\r\n", `250 .*\r\n`},
	{"MAIL FROM:<mallory@example.net>\r\n", `250 .*\r\n`},
	{"RCPT TO:<victim@elsewhere.example>\r\n", `554 5\.7\.1 .*Relay access denied\r\n`},
	{"QUIT\r\n", `221 .*\r\n`},
}

// smtpBegin is the beginning of a session. In clear it takes a command that only the
// backend can answer to get there.
func smtpBegin(way string) attackBegin {
	b := attackBegin{greeting: `220 .*\r\n`, steps: [][2]string{{"EHLO client.example\r\n", smtpReply}}}
	if way == "plain" {
		b.steps = append(b.steps, [2]string{"MAIL FROM:<mallory@example.net>\r\n", `250 .*\r\n`})
		b.steps = append(b.steps, [2]string{"EHLO client.example\r\n", smtpReply})
		b.offer = `250.(XCLIENT|XFORWARD|AUTH)`
		return b
	}
	b.offer = `250.(STARTTLS|XCLIENT|XFORWARD)`
	return b
}

// smtpBlanks is more than Caddy looks at before it decides.
var smtpBlanks = strings.Repeat(" ", 17000)

// smtpClaims are spellings of the commands with which a proxy speaks for its clients.
func smtpClaims() []attack {
	var attacks []attack
	for _, verb := range []string{"XCLIENT", "XFORWARD"} {
		attacks = append(attacks, each(`502 5\.5\.1 .*\r\n`,
			verb+" ADDR={ip}\r\n", verb+"\tADDR={ip}\r\n", strings.ToLower(verb)+" ADDR={ip}\n",
			verb+" \t ADDR={ip} \r\n", " "+verb+" ADDR={ip}\r\n", "\t"+verb+"\tADDR={ip}\r\n")...)
		attacks = append(attacks, each(`500 5\.5\.2 .*\r\n`,
			verb+"\vADDR={ip}\r\n", verb+"\fADDR={ip}\r\n", verb+"\rADDR={ip}\r\n", verb+" \rADDR={ip}\r\n",
			verb+" ADDR={ip}\x00\r\n", verb+"\x00 ADDR={ip}\r\n", verb+" ADDR={ip} NAME=a\x01b\r\n", "\v"+verb+" ADDR={ip}\r\n",
			verb+" ADDR={ip}"+smtpBlanks+"\r\n", verb+smtpBlanks+"ADDR={ip}\r\n", smtpBlanks+verb+" ADDR={ip}\r\n",
			verb+" ADDR={ip}"+strings.Repeat(" ", 2100)+"\r\n", "NOOP\r"+verb+" ADDR={ip}\r\n", "NOOP\x00\r"+verb+" ADDR={ip}\r\n")...)
	}
	return attacks
}

// smtpUpgrades are spellings of the request for a second upgrade.
func smtpUpgrades() []attack {
	return slices.Concat(
		each(`503 5\.5\.1 .*\r\n`, "STARTTLS\r\n", "starttls\n", " STARTTLS\r\n", "STARTTLS\t\r\n", "STARTTLS \r\n", "STARTTLS now\r\n"),
		each(`500 5\.5\.2 .*\r\n`, "STARTTLS\x00\r\n", "STARTTLS\x00x\r\n", "STARTTLS\v\r\n", "STARTTLS\r\r\n",
			"STARTTLS"+smtpBlanks+"\r\n", "\u017fTARTTLS\r\n"),
	)
}

// smtpSmuggled are ends of a message that Postfix takes for one, and others do not.
func smtpSmuggled() (attacks []attack) {
	const claim = "XCLIENT ADDR={ip}\r\nMAIL FROM:<mallory@example.net>\r\nRCPT TO:<victim@elsewhere.example>\r\n"
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\r", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
	} {
		attacks = append(attacks, attack{name: spelled(end), ends: true, steps: [][2]string{
			{"MAIL FROM:<mallory@example.net>\r\n", `250 .*\r\n`}, {"RCPT TO:<" + mailAddress + ">\r\n", `250 .*\r\n`},
			{"DATA\r\n", `354 .*\r\n`}, {"Subject: smuggled\r\n\r\nhello" + end + claim, `550 5\..*\r\n`},
		}})
	}
	return attacks
}

// smtpHelo are attacks of a client that has introduced itself without asking for
// capabilities.
var smtpHelo = []attack{{name: "HELO", steps: [][2]string{
	{"HELO client.example\r\n", `250 .*\r\n`},
	{"XCLIENT ADDR={ip}\r\n", `502 .*\r\n`}, {"XFORWARD ADDR={ip}\r\n", `502 .*\r\n`}, {"STARTTLS\r\n", `503 .*\r\n`},
	{"BDAT 28\r\nXCLIENT ADDR={ip}\r\n", `502 .*\r\n`},
}}}

// smtpInTurn has all three kinds of attack behind a refusal.
func smtpInTurn(refused string, steps ...[2]string) []attack {
	return []attack{{name: refused, steps: append(steps, [][2]string{
		{"XCLIENT ADDR={ip}\r\n", `502 .*\r\n`}, {"XFORWARD ADDR={ip}\r\n", `502 .*\r\n`}, {"STARTTLS\r\n", `503 .*\r\n`},
		{"XCLIENT\x00 ADDR={ip}\r\n", `500 .*\r\n`}, {"STARTTLS\x00\r\n", `500 .*\r\n`},
	}...)}}
}

// smtpChunks hide a claim in a chunk, for a backend that knows none.
var smtpChunks = append(each(`502 5\.5\.1 .*\r\n`,
	"BDAT 28 LAST\r\nXCLIENT ADDR={ip}\r\n", "bdat\t28\r\nXCLIENT ADDR={ip}\r\n"),
	each(`501 5\.5\.4 .*\r\n`, "BDAT x\r\n", "BDAT -1\r\n", "BDAT 0 LAST LAST\r\n", "BDAT\r\n")...)

// trusted is a Postfix that trusts Caddy, behind Caddy.
type trusted struct {
	*attackRun
	d    *dovecot
	addr string // of Postfix
	log  func() string
}

func startTrusted(t testing.TB) *trusted {
	t.Helper()
	d := startDovecot(t, tlsOff)
	refusing, helo, whole := freeAddr(t), freeAddr(t), freeAddr(t)
	addr, log := startPostfixWith(t, d, upgradingPostfix(t)+trustingPostfix, fmt.Sprintf(trustingServices, refusing, helo, whole))
	r := startAttackRoutes(t, "policy optional", map[string]string{
		"smtp": addr, "smtp refuses": refusing, "smtp refuses EHLO": helo, "smtp without chunking": whole,
	})
	return &trusted{&attackRun{r, "smtp", smtpBegin, smtpStranger}, d, addr, logOf(log)}
}

// TestLenientPostfix has clients claim, in all the spellings that Postfix understands, to
// be somewhere else, and ask it for a second upgrade. It hears of none of that.
func TestLenientPostfix(t *testing.T) {
	t.Parallel()
	p := startTrusted(t)
	p.attack(t, "smtp", attackWays, slices.Concat(smtpClaims(), smtpUpgrades()))
	p.attack(t, "smtp", attackWays, smtpSmuggled())
	p.attack(t, "smtp without chunking", attackWays, smtpChunks)
	p.attack(t, "smtp", []string{"plain"}, smtpPasswords())
	p.begin = func(string) attackBegin { return attackBegin{greeting: `220 .*\r\n`} }
	p.attack(t, "smtp", []string{"starttls", "tls"}, smtpHelo)
	p.attackRefusing(t)
	p.requireUnmoved(t)
	p.requireWarnedOnce(t, "smtp", 2*len(attackWays))
	t.Run("delivers", func(t *testing.T) { p.requireDelivers(t) })
	t.Run("would have noticed", func(t *testing.T) { p.requireNotices(t) })
}

// smtpPasswords would send a password in plaintext, where that is not allowed.
func smtpPasswords() []attack {
	plain := "PLAIN " + plainResponse() + "\r\n"
	return append(each(`538 5\.7\.11 .*\r\n`, "AUTH "+plain, "AUTH\t"+plain, "auth "+plain, " AUTH "+plain),
		each(`500 5\.5\.2 .*\r\n`, "AUTH\v"+plain, "AUTH\x00 "+plain, "AUTH "+smtpBlanks+plain)...)
}

// attackRefusing has a Postfix that refuses the client, which must not end the watch.
func (p *trusted) attackRefusing(t *testing.T) {
	t.Helper()
	quit := [][2]string{{"QUIT\r\n", `221 .*\r\n`}}
	p.rest = quit
	ehlo := [2]string{"EHLO client.example\r\n", `(554|450) .*\r\n`}
	p.attack(t, "smtp refuses", []string{"starttls"}, smtpInTurn("in the greeting", ehlo))
	p.attack(t, "smtp refuses", []string{"starttls"}, smtpInTurn("XCLIENT in its place", [2]string{"XCLIENT ADDR={ip}\r\n", `554 .*\r\n`}))
	p.attack(t, "smtp refuses EHLO", []string{"starttls", "tls"}, smtpInTurn("EHLO", ehlo))
	p.begin = func(string) attackBegin {
		return attackBegin{greeting: `220 .*\r\n`, steps: [][2]string{{"EHLO client.example\r\n", smtpReply}}}
	}
	mail := [2]string{"MAIL FROM:<mallory@example.net>\r\n", `(554|450) .*\r\n`}
	auth := [2]string{"AUTH PLAIN " + plainResponse() + "\r\n", `538 .*\r\n`}
	for _, name := range []string{"smtp refuses", "smtp refuses EHLO"} {
		p.attack(t, name, []string{"plain"}, smtpInTurn("in plaintext", mail, auth))
	}
}

// requireUnmoved requires that Postfix knows only Caddy's address. Its last word on a
// session has a count of its commands, also of those that failed.
func (p *trusted) requireUnmoved(t testing.TB) {
	t.Helper()
	connects := strings.Count(p.log(), ": connect from ")
	log := awaitSessions(t, p.log, ": disconnect from ", connects)
	for _, trace := range []string{"203.0.113.", "xclient=", "xforward=", "starttls=", " auth=", "TLS connection", "SSL_accept", ": removed"} {
		require.False(t, strings.Contains(log, trace), trace)
	}
	require.Empty(t, p.d.mails())
}

// requireDelivers has an attacker send ordinary mail.
func (p *trusted) requireDelivers(t *testing.T) {
	p.begin, p.rest = smtpBegin, [][2]string{{"QUIT\r\n", `221 .*\r\n`}}
	text := message("behind an attack")
	p.attack(t, "smtp", attackWays, []attack{{name: "mail", steps: [][2]string{
		{"XCLIENT ADDR={ip}\r\n", `502 .*\r\n`}, {"STARTTLS\r\n", `503 .*\r\n`},
		{"MAIL FROM:<bob@example.net>\r\n", `250 .*\r\n`}, {"RCPT TO:<" + mailAddress + ">\r\n", `250 .*\r\n`},
		{"DATA\r\n", `354 .*\r\n`}, {strings.ReplaceAll(text, "\r\n.", "\r\n..") + ".\r\n", `250 .*\r\n`},
	}}})
	p.d.delivered(t, len(attackWays))
	p.d.requireReceived(t, `from client\.example \(unknown \[127\.0\.0\.1\]\)`)
	require.False(t, strings.Contains(p.log(), "203.0.113."))
}

// requireNotices goes to Postfix itself: what the log must not have is there then.
func (p *trusted) requireNotices(t *testing.T) {
	c := &matrixClient{t: t, Conn: p.dial(t, "smtp", "plain", p.addr)}
	c.hold(matrixDialogue{greeting: `220 .*\r\n`, steps: [][2]string{
		{"EHLO client.example\r\n", smtpReply}, {"XCLIENT ADDR=203.0.113.7\r\n", `220 .*\r\n`},
		{"MAIL FROM:<mallory@example.net>\r\n", `250 .*\r\n`}, {"RCPT TO:<victim@elsewhere.example>\r\n", `250 .*\r\n`},
		{"QUIT\r\n", `221 .*\r\n`},
	}}, "plain")
	eventually(t, startTimeout, "Postfix to log the address", func() bool { return strings.Contains(p.log(), "disconnect from unknown[203.0.113.7]") })
}
