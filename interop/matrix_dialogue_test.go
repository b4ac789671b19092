package interop

import (
	"crypto/tls"
	"net"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// matrixDialogue is a session. The patterns account for every byte, so that a
// greeting too many is noticed.
type matrixDialogue struct {
	greeting    string // where the server speaks first
	greetsInTLS bool   // again, after an upgrade
	offer       string // of an upgrade, which there must be none of
	steps       [][2]string
	talk        func(c *matrixClient, way string) // behind the steps, for what they cannot say
}

// matrixDialogues are keyed by protocol; the argument is how the server is reached.
var matrixDialogues = map[string]func(up string) matrixDialogue{
	"smtp": func(string) matrixDialogue {
		return matrixDialogue{greeting: `220 .*\r\n`, offer: `STARTTLS`, steps: [][2]string{
			{"EHLO client.example\r\n", `(250-.*\r\n)+250 .*\r\n`},
			{"AUTH PLAIN " + plainResponse() + "\r\n", `235 .*\r\n`},
			{"MAIL FROM:<" + mailAddress + ">\r\n", `250 .*\r\n`},
			{"RCPT TO:<" + mailAddress + ">\r\n", `250 .*\r\n`},
			{"QUIT\r\n", `221 .*\r\n`},
		}}
	},
	"imap": func(string) matrixDialogue {
		return matrixDialogue{greeting: `\* OK .*\r\n`, offer: `STARTTLS|LOGINDISABLED`, steps: [][2]string{
			{"a CAPABILITY\r\n", `\* CAPABILITY .*\r\na OK .*\r\n`},
			{"b LOGIN alice \"open sesame\"\r\n", `(\* CAPABILITY .*\r\n)?b OK .*\r\n`},
			{"c LIST \"\" INBOX\r\n", `\* LIST .* INBOX\r\nc OK .*\r\n`},
			{"d LOGOUT\r\n", `\* BYE .*\r\nd OK .*\r\n`},
		}}
	},
	"pop3": func(string) matrixDialogue {
		return matrixDialogue{greeting: `\+OK.*\r\n`, offer: `STLS`, steps: [][2]string{
			{"CAPA\r\n", `\+OK.*\r\n([A-Z].*\r\n)+\.\r\n`},
			{"USER alice\r\n", `\+OK.*\r\n`},
			{"PASS open sesame\r\n", `\+OK Logged in\.\r\n`},
			{"STAT\r\n", `\+OK 0 0\r\n`},
			{"QUIT\r\n", `\+OK.*\r\n`},
		}}
	},
	"sieve": func(string) matrixDialogue {
		return matrixDialogue{greeting: `(".*\r\n)+OK.*\r\n`, greetsInTLS: true, offer: `STARTTLS`, steps: [][2]string{
			{"AUTHENTICATE \"PLAIN\" \"" + plainResponse() + "\"\r\n", `OK.*\r\n`},
			{"LISTSCRIPTS\r\n", `OK.*\r\n`},
			{"LOGOUT\r\n", `OK.*\r\n`},
		}}
	},
	"connect":     func(string) matrixDialogue { return matrixDialogue{steps: siteSteps} },
	"ftp":         ftpMatrix,
	"http":        httpMatrix,
	"nntp":        nntpMatrix,
	"telnet":      telnetMatrix,
	"xmpp-server": func(string) matrixDialogue { return matrixDialogue{offer: "starttls", steps: xmppServerSteps} },
	"irc":         func(string) matrixDialogue { return matrixDialogue{offer: `\btls\b`, steps: ircSteps} },
	"ldap":        func(string) matrixDialogue { return matrixDialogue{steps: ldapSteps} },
	"postgres":    postgresMatrix,
	"xmpp":        func(string) matrixDialogue { return matrixDialogue{offer: "starttls", steps: xmppSteps} },
}

// ldapSteps are a login, a search and an end.
var ldapSteps = [][2]string{
	{ldapBind, `\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00`},
	{
		"\x30\x3a\x02\x01\x03\x63\x35\x04\x1a" + ldapUser + "\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00" +
			"\x87\x02sn\x30\x04\x04\x02sn",
		`(?s:\x30.\x02\x01\x03\x64.*sn.*Liddell)\x30\x0c\x02\x01\x03\x65\x07\x0a\x01\x00\x04\x00\x04\x00`,
	},
	{ldapUnbind, ``},
}

// postgresMatrix has a user for those who come without TLS, and one for the others.
func postgresMatrix(up string) matrixDialogue {
	user, answer := pgClear, "f"
	if up == "starttls" || up == "optional" {
		user, answer = pgGuest, "t"
	}
	const query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	const length = string(rune(4 + len(query) + 1))
	return matrixDialogue{steps: [][2]string{
		{pgStartup(user), `R\x00\x00\x00\x08\x00\x00\x00\x00(?s:[SK]\x00.*)Z\x00\x00\x00\x05I`},
		{
			"Q\x00\x00\x00" + length + query + "\x00",
			`(?s:T.*)D\x00\x00\x00\x0b\x00\x01\x00\x00\x00\x01` + answer + `C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I`,
		},
		{"X\x00\x00\x00\x04", ``},
	}}
}

// xmppSteps are a login and what begins a session.
var xmppSteps = [][2]string{
	{xmppHeader, `(<\?xml [^>]*>)?<stream:stream [^>]*>\s*<stream:features>.*<mechanism>PLAIN</mechanism>.*</stream:features>`},
	{
		"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plainResponse() + "</auth>",
		`<success [^>]*(/>|></success>)`,
	},
	{xmppHeader, `(<\?xml [^>]*>)?<stream:stream [^>]*>\s*<stream:features>.*<bind .*</stream:features>`},
	{
		"<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>test</resource></bind></iq>",
		`<iq .*<jid>` + xmppUser + `@` + xmppHost + `/test</jid></bind></iq>`,
	},
	{"</stream:stream>", `</stream:stream>`},
}

// matrixClient has a dialogue on a connection.
type matrixClient struct {
	t testing.TB
	net.Conn
	tls         *tls.Config // for data connections
	unseen, all string
}

// hold goes through a dialogue to the end of the connection.
func (c *matrixClient) hold(d matrixDialogue, way string) {
	c.t.Helper()
	if d.greeting != "" && (way != "starttls" || d.greetsInTLS) {
		c.expect(d.greeting)
	}
	for _, step := range d.steps {
		c.say(step[0], step[1])
	}
	if d.talk != nil {
		d.talk(c, way)
	}
	require.Empty(c.t, readRest(c.t, c.Conn))
	if d.offer != "" {
		require.NotRegexp(c.t, d.offer, c.all)
	}
}

// say sends something and waits for the answer.
func (c *matrixClient) say(text, pattern string) []string {
	c.t.Helper()
	_, err := c.Write([]byte(text))
	require.NoError(c.t, err, "%q", c.all)
	return c.expect(pattern)
}

// expect reads until everything that has come matches, and returns the match and its groups.
func (c *matrixClient) expect(pattern string) []string {
	c.t.Helper()
	re := regexp.MustCompile(`\A(?:` + pattern + `)\z`)
	buffer := make([]byte, 4096)
	for {
		if found := re.FindStringSubmatch(c.unseen); found != nil {
			c.unseen = ""
			return found
		}
		n, err := c.Read(buffer)
		c.unseen += string(buffer[:n])
		c.all += string(buffer[:n])
		require.NoError(c.t, err, "waiting for %q: %q", pattern, c.unseen)
	}
}
