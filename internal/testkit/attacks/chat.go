package attacks

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

func ircRows() []Row {
	s := &speller{}
	for _, command := range []string{"STARTTLS", "WEBIRC pw gateway host 192.0.2.5", "PASS secret", "OPER root secret"} {
		s.spell(command)
	}
	rows := s.rows
	add := adder(&rows)
	for _, command := range []string{"STARTTLS\r\n", "WEBIRC pw gateway host 192.0.2.5\r\n", "AUTHENTICATE PLAIN\r\n", "OPER root secret\r\n"} {
		verb := command[:4]
		for _, before := range []string{
			":a ", " :a  ", ": ", ":a\t", ":a\tb ", "@a=b ", "@a=b :c ", "@ ", "@a\x00 ", ":a :b ", "@a @b ", ":a\r ", "\x00", "\x00:a ",
			":" + strings.Repeat("a", 600) + " ", "@" + strings.Repeat("a", 5000) + " ", strings.Repeat(" ", 300),
		} {
			add("in front of the verb", before[:min(len(before), 10)]+verb, 0, before+command)
		}
		add("no verb of its own", "source before "+verb, 0, ":a\r\n"+command)
		add("CR inside the verb", verb, 0, command[:3]+"\r"+command[3:])
		add("half of a registration", "NICK before "+verb, 0, "NICK a\r\n", command)
		add("half of a registration", "USER before "+verb, 0, "USER a 0 * :a\r\n", command)
		add("registration refused", verb, lenient.RefuseLogin, "NICK a\r\nUSER a 0 * :a\r\n", command)
		add("capabilities", "before "+verb, 0, "CAP LS 302\r\n", "CAP REQ :message-tags\r\n", "@a=b "+command)
		add("like a welcome", "PING before "+verb, 0, "PING 001\r\n", "PING :001\r\n", command)
		add("like a welcome", "CAP before "+verb, 0, "CAP REQ :001\r\n", "001\r\n", command)
		add("greeting refuses", verb, lenient.RefuseGreeting, "PING a\r\n", command)
		add("many commands", verb, 0, strings.Repeat("PING a\r\n", 2000)+command)
	}
	for _, name := range []string{"PASS secret\r\n", "OPER root secret\r\n", "AUTHENTICATE PLAIN\r\n"} {
		add("registered", name[:4], 0, "NICK a\r\nUSER a 0 * :a\r\n", name)
		add("registered", "in tags "+name[:4], 0, "CAP REQ message-tags\r\n", "NICK a\r\nUSER a 0 * :a\r\n", "@a=b "+name)
	}
	return rows
}

// xmppServerHeader begins a stream between servers.
var xmppServerHeader = toServers(xmppHeader)

// toServers makes a stream between servers of one that a client would have.
func toServers(said string) string {
	said = strings.ReplaceAll(said, "xmlns='jabber:client'", "xmlns:db='jabber:server:dialback' from='peer.example.com' xmlns='jabber:server'")
	return strings.ReplaceAll(said, "jabber:client", "jabber:server")
}

// dialback is how servers log in that have no certificate (XEP-0220).
const dialback = "<db:result from='peer.example.com' to='example.com'>key</db:result>"

func xmppServerRows() []Row {
	rows := xmppRows()
	for i := range rows {
		for n := range rows[i].Steps {
			rows[i].Steps[n] = toServers(rows[i].Steps[n])
		}
	}
	add := adder(&rows)
	external := "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>"
	for name, login := range map[string]string{
		"EXTERNAL": external, "a prefix": "<a:auth xmlns:a='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'/>",
		"SASL2": "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='EXTERNAL'/>", "another": strings.ReplaceAll(external, "EXTERNAL", "PLAIN"),
	} {
		add("login by address", name, 0, xmppServerHeader, login)
		add("login by address", name+" behind dialback", 0, xmppServerHeader, dialback, login)
	}
	add("behind dialback", "starttls", 0, xmppServerHeader, dialback, "<iq type='get' id='1'/>", startTLS)
	return rows
}

func telnetRows() []Row {
	var rows []Row
	add := adder(&rows)
	const will, do, sub = "\xff\xfb\x2e", "\xff\xfd\x2e", "\xff\xfa\x2e\x01\xff\xf0"
	for name, asks := range map[string]string{"WILL": will, "DO": do, "SB": sub, "WILL and SB": will + sub} {
		add("as it is", name, 0, asks)
		add("as it is", "behind text "+name, 0, "root\r\n", "secret\r\n", asks)
		for before, said := range map[string]string{
			"an option": "\xff\xfb\x18", "a refusal": "\xff\xfc\x18", "a command": "\xff\xf4", "a subnegotiation": "\xff\xfa\x18\x00x\xff\xf0",
			"an octet 255": "\xff\xff", "three of them": "\xff\xff\xff\xff\xff\xff", "an end without a begin": "\xff\xf0", "NUL": "\x00", "CR NUL": "\r\x00",
			"a refusal of it": "\xff\xfc\x2e\xff\xfe\x2e", "an empty subnegotiation": "\xff\xfa\xff\xf0", "much text": strings.Repeat("x", 70000),
		} {
			add("behind", before+" "+name, 0, said+asks)
		}
		add("amid a subnegotiation", name, 0, "\xff\xfa\x18"+asks)
		add("amid a subnegotiation", "without an end "+name, 0, "\xff\xfa\x18\x00\xff"+asks)
		add("amid a subnegotiation", "of its own "+name, 0, "\xff\xfa\x2e"+asks+"\xff\xf0")
	}
	return rows
}

// ircSessions register, or are refused.
func ircSessions() []Row {
	register := "NICK a\r\nUSER a 0 * :a\r\n"
	return append(honest(0,
		[]string{"CAP LS 302\r\n", "CAP REQ :multi-prefix\r\nAUTHENTICATE PLAIN\r\n", "CAP END\r\n" + register, "STARTTLS\r\n", "JOIN #a\r\n", "QUIT\r\n"},
		[]string{"PASS x\r\n" + register + "PRIVMSG #a :\x01ACTION \x02waves\x01\r\nCAP LS\r\n", ":a PRIVMSG #a :STARTTLS\r\n"},
		[]string{"CAP LS\n:a PING x\n", "FOO \t\x01\r\n"}), honest(lenient.RefuseLogin, []string{"PASS x\r\n" + register, "NICK b\r\n"})...)
}
