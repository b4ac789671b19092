package attacks

import (
	"regexp"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// Honest are sessions as clients have them, in which a filter changes nothing but
// what is not for the client: see Announced.
func Honest(protocol string) []Row {
	text := "Subject: x\r\n\r\nSTARTTLS\r\n..\r\n" + strings.Repeat("XCLIENT ADDR=192.0.2.5\r\n", 1000) + ".\r\n"
	mail := []string{
		"NOOP\r\n", "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n", text, "RSET\r\nAUTH PLAIN\r\n", "STARTTLS\r\n",
		"AUTH LOGIN\r\n", "XCLIENT\r\n", "XCLIENT\r\n", "AUTH LOGIN\r\n", "*\r\n", "VRFY x\r\nHELP\r\n", "QUIT\r\n",
	}
	chunks := []string{"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nBDAT 10\r\nSTARTTLS\r\nBDAT 10 LAST\r\nSTARTTLS\r\n", "NOOP\r\n"}
	hello := func(verb string, steps []string) []string {
		return append([]string{verb + " client.example\r\n"}, steps...)
	}
	switch protocol {
	case "smtp":
		return append(honest(0, hello("EHLO", mail), hello("HELO", mail)), honest(lenient.Chunking, hello("ehlo", chunks))...)
	case "lmtp":
		return append(honest(0, hello("LHLO", mail)), honest(lenient.Chunking, hello("LHLO", chunks))...)
	case "pop3":
		login := []string{"CAPA\r\n", "AUTH PLAIN\r\n", "STLS\r\n", "CAPA\r\nLIST\r\nRETR 1\r\n", "QUIT\r\n"}
		return append(honest(0, login, []string{"USER a\r\n", "PASS b\r\n", "STAT\r\n"}), honest(lenient.RefuseLogin, login)...)
	case "nntp":
		return honest(0, []string{"CAPABILITIES\r\n", "MODE READER\r\n", "POST\r\n", text, "AUTHINFO USER a\r\n", "AUTHINFO PASS b\r\n", "ARTICLE 1\r\n", "QUIT\r\n"})
	case "nbd":
		return honest(0, nbdSession())
	case "irc":
		return ircSessions()
	case "ftp":
		return honest(0, []string{"SYST\r\n", "USER a\r\n", "PASS b\r\n", "STAT\r\nHELP\r\n", "CWD \xff\xff\r\n", "QUIT\r\n"})
	case "imap":
		return honest(0,
			[]string{"a CAPABILITY\r\n", "b ID (\"name\" \"x\" \"version\" {3}\r\n", "1.0)\r\n", "c LOGIN a {8+}\r\nSTARTTLS\r\n", "d APPEND INBOX {12+}\r\nd STARTTLS\r\n\r\n", "e LOGOUT\r\n"},
			[]string{"a ID NIL\r\n", "b AUTHENTICATE PLAIN\r\n", "STARTTLS\r\n", "c CAPABILITY\r\n", "d IDLE\r\n"})
	case "sieve":
		return honest(0,
			[]string{"CAPABILITY\r\n", "NOOP \"STARTTLS\"\r\n", "NOOP {5+}\r\nhello\r\n", "AUTHENTICATE \"PLAIN\" \"AA\"\r\n", "PUTSCRIPT \"a\" {10+}\r\nSTARTTLS\r\n\r\n"},
			[]string{"AUTHENTICATE \"PLAIN\"\r\n", "{8+}\r\nAGpvZQBz\r\n", "CAPABILITY\r\n", "LOGOUT\r\n"})
	case "ldap":
		return honest(0, []string{ldapMessage(0, "\x01", ldapOperations(0)["bind"]), ldapMessage(0, "\x02", ber(0x66, 0, strings.Repeat("x", 70000))), ldapMessage(3, "\x03", "\x42\x00")})
	case "xmpp":
		deep := "<iq type='get' id='1'>" + strings.Repeat("<a>", 6) + startTLS + strings.Repeat("</a>", 6) + "</iq>"
		return honest(0, []string{xmppHeader, xmppLogin, xmppHeader, deep, "<presence/>", "</stream:stream>"})
	case "telnet":
		return honest(0, []string{"\xff\xfb\x18\xff\xfd\x01", "\xff\xfa\x18\x00x\xff\xff\xff\xf0root\r\n", "a\xff\xffb\r\x00\r\n", strings.Repeat("text\r\n", 3000), "\xff\xfc\x01bye\r\n"})
	case "xmpp-server":
		return honest(0, []string{xmppServerHeader, dialback, "<message from='a@peer.example.com' to='b@example.com'><body>x</body></message><iq/>", "</stream:stream>"})
	case "mysql":
		return honest(lenient.Bare, mysqlHonest()...)
	case "postgres":
		return honest(0, []string{"\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00", "p\x00\x00\x00\x0bsecret\x00", "Q\x00\x00\x00\x0cSELECT \x00", "X\x00\x00\x00\x04"})
	}
	return honestToo(protocol)
}

func honest(quirks lenient.Quirk, sessions ...[]string) []Row {
	var rows []Row
	for _, steps := range sessions {
		rows = append(rows, Row{"honest", steps[0], steps, quirks})
	}
	return rows
}

// announcements are what a backend says of its upgrade and of what it grants, with
// enough around it to tell it from data.
var announcements = map[string]*regexp.Regexp{
	"imap":  regexp.MustCompile(`()( STARTTLS)`),
	"irc":   regexp.MustCompile(`(away-notify=1)( tls)`),
	"lmtp":  smtpAnnouncements,
	"nntp":  regexp.MustCompile(`(SASL PLAIN\r\n)(STARTTLS\r\n)`),
	"pop3":  regexp.MustCompile(`(SASL PLAIN\r\n)(STLS\r\nXCLIENT ADDR PORT\r\n)`),
	"sieve": regexp.MustCompile(`("SASL" "PLAIN"\r\n)("STARTTLS"\r\n"XCLIENT" "ADDR PORT"\r\n)`),
	"smtp":  smtpAnnouncements,

	"xmpp-server": regexp.MustCompile(`(<stream:features>)(<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms .*</mechanisms>)`),
	"xmpp":        regexp.MustCompile(`(<stream:features>)(<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>)`),
}

var smtpAnnouncements = regexp.MustCompile(`()(250-(STARTTLS|XCLIENT|XFORWARD|XRCPTFORWARD)\b.*\r\n)`)

// Announced returns what a client hears of what a backend has said: less what it
// announces that is not for the client.
func Announced(protocol, said string) string {
	if announced, ok := announcements[protocol]; ok {
		return announced.ReplaceAllString(said, "$1")
	}
	return said
}
