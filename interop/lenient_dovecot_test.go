package interop

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// trustingDovecot settings make a Dovecot do for Caddy's address what a proxy may ask for,
// and say in its log what it believes of a client. Failed logins delay nobody.
const trustingDovecot = `
login_trusted_networks = 127.0.0.0/8
auth_failure_delay = 0
auth_verbose = yes
verbose_ssl = yes
mail_max_userip_connections = 1000
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// dovecotRun is a Dovecot that trusts Caddy, behind Caddy, for one of its protocols.
type dovecotRun struct {
	*attackRun
	d *dovecot
}

func startTrustingDovecot(t testing.TB, proto string, begin func(string) attackBegin, rest [][2]string) *dovecotRun {
	t.Helper()
	d := startDovecotWith(t, tlsOn(t), trustingDovecot)
	backend := map[string]string{"imap": d.imap, "pop3": d.pop3, "sieve": d.sieve, "lmtp": d.lmtp}[proto]
	r := startAttackRoutes(t, "policy optional\nallow_plaintext_auth", map[string]string{proto: backend})
	return &dovecotRun{&attackRun{r, proto, begin, rest}, d}
}

// requireUnmoved requires that Dovecot knows only Caddy's address, and of no TLS. It
// has a line for each session that ended, and for each login.
func (r *dovecotRun) requireUnmoved(t testing.TB, logins int) {
	t.Helper()
	log := awaitSessions(t, r.d.Log, "-login: Info: Login: user=<alice>", logins)
	require.Regexp(t, `Info: Login: user=<alice>, .* rip=127\.0\.0\.1, lip=127\.0\.0\.1, .* secured, `, log)
	requireNoTrace(t, log)
}

// requireNoTrace looks for what a backend would say that believes an attack. The
// word TLS stands at the end of a session's line.
func requireNoTrace(t testing.TB, log string) {
	t.Helper()
	for _, line := range strings.Split(log, "\n") {
		require.NotContains(t, line, "203.0.113.")
		require.NotRegexp(t, `, TLS\b|SSL: `, line)
		if strings.Contains(line, "rip=") {
			require.Regexp(t, `rip=127\.0\.0\.1[,)\s]`, line)
		}
	}
}

// imapRest is a login, a look around, and an end.
var imapRest = [][2]string{
	{`y LOGIN alice "open sesame"` + "\r\n", `(\* CAPABILITY .*\r\n)?y OK .*\r\n`},
	{"z LOGOUT\r\n", `\* BYE .*\r\nz OK .*\r\n`},
}

// imapBegin has a client in plaintext fail to log in, to get to the backend.
func imapBegin(way string) attackBegin {
	b := attackBegin{greeting: `\* OK .*\r\n`}
	if way == "plain" {
		b.steps = [][2]string{{"0 LOGIN alice wrong\r\n", `0 NO .*\r\n`}}
	}
	b.steps = append(b.steps, [2]string{"1 CAPABILITY\r\n", `\* CAPABILITY .*\r\n1 OK .*\r\n`})
	b.offer = `\* CAPABILITY .*STARTTLS.*\r\n1 OK|b OK` // the latter grants what some attacks ask for
	return b
}

// imapClaims are spellings of the fields by which one Dovecot tells another of a client.
func imapClaims() []attack {
	var lists []string
	for _, field := range []string{
		"x-originating-ip", "X-Originating-IP", "x-originating-port", "x-connected-ip", "x-connected-port", "x-session-id",
		"x-session-ext-id", "x-proxy-ttl", "x-forward-rip", "x-client-transport",
	} {
		lists = append(lists, `("`+field+`" "{ip}")`)
	}
	const field = "x-originating-ip"
	lists = append(lists, `("name" "x" "`+field+`" "{ip}")`, `("`+strings.Replace(field, "-", `\-`, 1)+`" "{ip}")`,
		"({16+}\r\n"+field+` "{ip}")`, `("name" {1+}`+"\r\nx {16+}\r\n"+field+" {13+}\r\n{ip})", "({16}",
		`("name" "x" {16}`, "({016+}\r\n"+field+` "{ip}")`)
	var attacks []attack
	for _, list := range lists {
		attacks = append(attacks, once(spelled(list), "a ID "+list+"\r\n", `a BAD .*\r\n`))
	}
	for _, send := range []string{
		"a\tID (\"" + field + "\" \"{ip}\")\r\n", "a ID\t(\"" + field + "\" \"{ip}\")\r\n", "a ID (\"" + field + "\"\t\"{ip}\")\r\n",
		"a id (\"" + field + "\" \"{ip}\")\n", "a  ID  ( \"" + field + "\" \"{ip}\" )\r\n", "a ID (\"" + field + "\" \"{ip}\")\x00\r\n",
		"a ID\x00 (\"" + field + "\" \"{ip}\")\r\n", "a ID (\"" + field + "\x00\" \"{ip}\")\r\n",
		"a XCLIENT ADDR={ip}\r\n", "a\tXCLIENT ADDR={ip}\r\n", "a X-PROXY {ip}\r\n",
	} {
		attacks = append(attacks, once(spelled(send), send, `a BAD .*\r\n`))
	}
	return attacks
}

// imapUpgrades are spellings of the request for a second upgrade.
func imapUpgrades() []attack {
	const refused = `b BAD .*\r\n`
	attacks := each(refused, "b STARTTLS\r\n", "b starttls\n", "b\tSTARTTLS\r\n", "b  STARTTLS\r\n", "b STARTTLS \r\n",
		"b STARTTLS\t\r\n", "b STARTTLS now\r\n", "b STARTTLS\x00\r\n", "b STARTTLS\x00x\r\n", "b STARTTLS\v\r\n",
		"b STARTTLS\f\r\n", "b STARTTLS\r\r\n", "b \u017fTARTTLS\r\n", "b STARTTLS {0+}\r\n\r\n", "b UID\x00STARTTLS\r\n")
	attacks = append(attacks, each(`(b|\*) BAD .*\r\n`, " b STARTTLS\r\n", "\tb STARTTLS\r\n", "* STARTTLS\r\n", "+ STARTTLS\r\n",
		"b\vSTARTTLS\r\n", "b\x00 STARTTLS\r\n", "\"b\" STARTTLS\r\n")...)
	for _, hides := range []string{`"x{12+}`, "~{12+}", `"x {12+}`, "x{12+}", `"x\" {12+}`, `x"y {12+}`, "{12+}", "{12}", `"x" {12+}`, "({12+}"} {
		attacks = append(attacks, attack{name: hides, steps: [][2]string{
			{"a NOOP " + hides + "\r\nb STARTTLS\r\nc NOOP\r\n\r\nd NOOP\r\n", `(?s:.*)d OK .*\r\n`},
		}})
	}
	return append(attacks, imapDisguises...)
}

// imapDisguises make the filter believe that it is no longer needed, if it leaves at more
// than the success of a login.
var imapDisguises = []attack{
	{name: "tag reuse", steps: [][2]string{
		{"a NOOP\r\na LOGIN alice wrong\r\n", `a OK .*\r\na NO .*\r\n`}, {"b STARTTLS\r\n", `b BAD .*\r\n`},
		{"a LOGIN alice wrong\r\n", `a NO .*\r\n`}, {"a STARTTLS\r\n", `a BAD .*\r\n`},
	}},
	{name: "tag reuse, other way round", steps: [][2]string{
		{"a LOGIN alice wrong\r\na NOOP\r\n", `(?s:.*a OK .*\r\n.*)`}, {"b STARTTLS\r\n", `(a (OK|NO) .*\r\n)?b BAD .*\r\n`},
	}},
	{name: "COMPRESS", steps: [][2]string{
		{"a COMPRESS DEFLATE\r\n", `a BAD .*\r\n`}, {"b STARTTLS\r\n", `b BAD .*\r\n`},
		{`c ID ("x-originating-ip" "{ip}")` + "\r\n", `c BAD .*\r\n`},
	}},
	{name: "a login that fails", steps: [][2]string{
		{"a LOGIN alice wrong\r\n", `a NO .*\r\n`}, {"b STARTTLS\r\n", `b BAD .*\r\n`},
		{"c AUTHENTICATE PLAIN\r\n", `\+.*\r\n`}, {"*\r\n", `c BAD .*\r\n`}, {"d STARTTLS\r\n", `d BAD .*\r\n`},
		{"e AUTHENTICATE NONE\r\n", `e (NO|BAD) .*\r\n`}, {"f STARTTLS\r\n", `f BAD .*\r\n`},
	}},
}

// TestLenientDovecotIMAP has clients of a Dovecot claim to be somewhere else, and ask it
// for a second upgrade.
func TestLenientDovecotIMAP(t *testing.T) {
	t.Parallel()
	r := startTrustingDovecot(t, "imap", imapBegin, imapRest)
	attacks := append(imapClaims(), imapUpgrades()...)
	r.attack(t, "imap", attackWays, attacks)
	r.requireUnmoved(t, len(attackWays)*len(attacks))
	r.requireNotices(t, r.d.imap, [][2]string{
		{`a ID ("x-originating-ip" "203.0.113.7")` + "\r\n", `\* ID .*\r\na OK .*\r\n`}, imapRest[0], imapRest[1],
	}, `\* OK .*\r\n`, `Login: user=<alice>, .* rip=203\.0\.113\.7,`)
}

// requireNotices goes to Dovecot itself: what the log must not have is there then.
func (r *dovecotRun) requireNotices(t *testing.T, addr string, steps [][2]string, greeting, logged string) {
	t.Helper()
	c := &matrixClient{t: t, Conn: r.dial(t, r.proto, "plain", addr)}
	c.hold(matrixDialogue{greeting: greeting, steps: steps}, "plain")
	eventually(t, startTimeout, "Dovecot to log the address", func() bool { return regexp.MustCompile(logged).MatchString(r.d.Log()) })
}

// pop3Rest is a login and an end.
var pop3Rest = [][2]string{
	{"USER alice\r\n", `\+OK.*\r\n`}, {"PASS open sesame\r\n", `\+OK Logged in.*\r\n`}, {"QUIT\r\n", `\+OK.*\r\n`},
}

func pop3Begin(way string) attackBegin {
	b := attackBegin{greeting: `\+OK [^\[]*\r\n`, offer: `XCLIENT`}
	if way == "plain" {
		b.steps = [][2]string{{"USER alice\r\n", `\+OK.*\r\n`}, {"PASS wrong\r\n", `-ERR.*\r\n`}}
	}
	capa := [2]string{"CAPA\r\n", `\+OK.*\r\n([A-RT-Z].*\r\n|SASL.*\r\n)+\.\r\n`} // neither STLS nor XCLIENT
	b.steps = append(b.steps, capa)
	return b
}

// TestLenientDovecotPOP3 is TestLenientDovecotIMAP for POP3.
func TestLenientDovecotPOP3(t *testing.T) {
	t.Parallel()
	r := startTrustingDovecot(t, "pop3", pop3Begin, pop3Rest)
	attacks := each(`-ERR .*\r\n`, "XCLIENT ADDR={ip}\r\n", "XCLIENT ADDR={ip} PORT=1\r\n", "xclient addr={ip}\n", "XCLIENT\tADDR={ip}\r\n",
		" XCLIENT ADDR={ip}\r\n", "XCLIENT\x00 ADDR={ip}\r\n", "XCLIENT ADDR={ip}\x00\r\n", "XCLIENT ADDR={ip}"+smtpBlanks+"\r\n",
		"XCLIENT\vADDR={ip}\r\n", "XCLIENT\rADDR={ip}\r\n", "NOOP\rXCLIENT ADDR={ip}\r\n",
		"STLS\r\n", "stls\n", "STLS \r\n", "STLS\t\r\n", " STLS\r\n", "STLS now\r\n", "STLS\x00\r\n", "STLS\x00x\r\n", "STLS\v\r\n",
		"STLS\r\r\n", "\u017fTLS\r\n", "AUTH NONE\r\n")
	attacks = append(attacks, attack{name: "a login that fails", steps: [][2]string{
		{"USER alice\r\n", `\+OK.*\r\n`}, {"PASS wrong\r\n", `-ERR.*\r\n`}, {"STLS\r\n", `-ERR .*\r\n`},
		{"AUTH PLAIN\r\n", `\+.*\r\n`}, {"*\r\n", `-ERR.*\r\n`}, {"XCLIENT ADDR={ip}\r\n", `-ERR .*\r\n`},
	}})
	r.attack(t, "pop3", attackWays, attacks)
	r.requireUnmoved(t, len(attackWays)*len(attacks))
	r.requireWarnedOnce(t, "pop3", len(attackWays))
	r.requireNotices(t, r.d.pop3, slices.Concat([][2]string{{"XCLIENT ADDR=203.0.113.7 PORT=1\r\n", `\+OK.*\r\n`}}, pop3Rest),
		`\+OK \[XCLIENT\].*\r\n`, `Login: user=<alice>, .* rip=203\.0\.113\.7,`)
}
