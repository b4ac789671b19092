package lenient

import (
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// A reading is an input and what a lenient server makes of it.
type reading struct {
	name     string
	protocol string
	quirks   Quirk
	input    string
	want     []string // the beginnings of what is forbidden
}

func TestReadings(t *testing.T) {
	for _, all := range [][]reading{
		amqpReadings, lineReadings, longReadings, smtpReadings, pop3Readings, nntpReadings, ftpReadings, ircReadings, httpReadings, imapReadings, sieveReadings, ldapReadings(), xmppReadings, xmppServerReadings, telnetReadings, postgresReadings, nbdReadings, rdpReadings, tdsReadings, vncReadings,
	} {
		for _, r := range all {
			t.Run(r.protocol+"/"+r.name, func(t *testing.T) {
				for _, chunk := range []int{1, 7, len(r.input)} {
					r.check(t, chunk)
				}
			})
		}
	}
}

func (r *reading) check(t *testing.T, chunk int) {
	b, err := New(r.protocol, r.quirks)
	require.NoError(t, err)
	for input := r.input; input != ""; {
		n := min(chunk, len(input))
		b.Feed([]byte(input[:n]))
		input = input[n:]
	}
	var got []string
	for _, note := range b.Forbidden() {
		what, _, _ := strings.Cut(note, ":")
		got = append(got, what)
	}
	require.Equal(t, r.want, got, "in parts of %d", chunk)
}

func TestNewKnowsNoOther(t *testing.T) {
	_, err := New("gopher")
	require.ErrorContains(t, err, `"gopher"`)
}

// A session runs, and is answered as by a server.
func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		protocol, greeting, input, want string
		quirks                          Quirk
	}{
		"smtp": {
			"smtp", "220 backend ESMTP\r\n",
			"EHLO c\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n.\r\nAUTH LOGIN\r\nYQ==\r\nYQ==\r\nQUIT\r\nNOOP\r\n",
			"250-backend\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250-AUTH=PLAIN LOGIN\r\n250 SIZE\r\n" +
				"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 End data with <CR><LF>.<CR><LF>\r\n250 2.0.0 Delivered\r\n" +
				"334 \r\n334 \r\n235 2.7.0 Logged in\r\n221 2.0.0 Bye\r\n", Bare,
		},
		"lmtp": {
			"lmtp", "220 backend ESMTP\r\n", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nBDAT 2 LAST\r\nx\n",
			"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n250 2.1.5 Ok\r\n250 2.0.0 Delivered\r\n250 2.0.0 Delivered\r\n", Chunking,
		},
		"pop3": {
			"pop3", "+OK backend ready\r\n", "CAPA\r\nAUTH PLAIN\r\nAA\r\nSTAT\r\n",
			"+OK\r\nTOP\r\nUIDL\r\nUSER\r\nSASL PLAIN\r\nSTLS\r\nXCLIENT ADDR PORT\r\n.\r\n+ \r\n+OK Logged in\r\n+OK\r\n", 0,
		},
		"nntp": {
			"nntp", "200 backend ready\r\n", "POST\r\nSTARTTLS\r\n.\r\nAUTHINFO USER a\r\nAUTHINFO PASS b\r\n",
			"340 Send it\r\n240 Posted\r\n381 Password\r\n281 Logged in\r\n", 0,
		},
		"irc": {
			"irc", "", "CAP LS 302\r\nPASS x\r\nNICK a\r\nUSER a 0 * :a\r\nJOIN #a\r\nPING x\r\nFOO\r\nQUIT\r\nPING x\r\n",
			":backend CAP * LS * :multi-prefix away-notify=1\r\n:backend CAP * LS :sasl=PLAIN server-time message-tags\r\n" +
				":backend 001 a :Welcome\r\n:backend 376 a :End of MOTD\r\n:a!a@host JOIN #a\r\n:backend CAP a NEW :tls sasl\r\n" +
				":backend PONG backend x\r\n:backend 421 * FOO :Unknown command\r\nERROR :Closing Link: bye\r\n", Bare,
		},
		"imap": {
			"imap", "* OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR STARTTLS LITERAL+] backend ready\r\n",
			"a ID (\"name\" {1}\r\nx)\r\nb LOGIN u {1+}\r\np\r\nc SELECT INBOX\r\n",
			"+ Go on\r\n* ID NIL\r\na OK Done\r\nb OK [CAPABILITY IMAP4rev1 ID AUTH=PLAIN SASL-IR LITERAL+] Logged in\r\nc OK Done\r\n", 0,
		},
		"sieve": {
			"sieve", "\"IMPLEMENTATION\" \"backend\"\r\n\"SIEVE\" \"fileinto\"\r\n\"SASL\" \"PLAIN\"\r\n\"VERSION\" \"1.0\"\r\nOK \"backend ready\"\r\n",
			"AUTHENTICATE \"PLAIN\"\r\n{1+}\r\nx\r\nPUTSCRIPT \"a\" {10+}\r\nSTARTTLS\r\n\r\n",
			"\"\"\r\nOK \"Logged in\"\r\nOK \"Done\"\r\n", Bare,
		},
		"ldap": {
			"ldap", "", message(1, "\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
			"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", 0,
		},
		"xmpp": {
			"xmpp", "", xmppHeader + "<auth xmlns='" + xmppSASL + "'>AA</auth>", "<?xml version='1.0'?><stream:stream xmlns='jabber:client' " +
				"xmlns:stream='http://etherx.jabber.org/streams' id='1' from='backend' version='1.0'><stream:features>" +
				"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>" +
				"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", Bare,
		},
		"postgres": {
			"postgres", "", pgStartup + "p\x00\x00\x00\x06x\x00",
			"R\x00\x00\x00\x08\x00\x00\x00\x03R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05I", 0,
		},
	} {
		b, err := New(c.protocol, c.quirks)
		require.NoError(t, err)
		require.Equal(t, c.greeting, string(b.Greeting()), name)
		require.Equal(t, c.want, string(b.Feed([]byte(c.input))), name)
		require.Empty(t, b.Forbidden(), name)
	}
}

// What refuses, refuses at first.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		protocol    string
		quirk       Quirk
		input, want string
	}{
		{"smtp", RefuseGreeting, "", "554 5.7.1 backend refuses"},
		{"smtp", RefuseHello, "EHLO a\r\n", "450 4.7.1 Not now"},
		{"smtp", RefuseData, "DATA\r\n", "554 5.5.1 No valid recipients"},
		{"smtp", RefuseLogin, "AUTH PLAIN AA\r\n", "535 5.7.8 Login refused"},
		{"pop3", RefuseGreeting, "", "-ERR backend refuses"},
		{"pop3", RefuseLogin, "PASS a\r\n", "-ERR Login refused"},
		{"nntp", RefuseGreeting, "", "400 backend refuses"},
		{"nntp", RefuseData, "POST\r\n", "440 Not allowed"},
		{"nntp", RefuseLogin, "AUTHINFO PASS x\r\n", "481 Login refused"},
		{"irc", RefuseGreeting, "", "ERROR :Closing Link: backend refuses"},
		{"irc", RefuseLogin, "PASS x\r\n", ":backend 464 * :Password incorrect"},
		{"imap", RefuseGreeting, "", "* BYE backend refuses"},
		{"imap", RefuseLogin, "a LOGIN b c\r\n", "a NO Login refused"},
		{"sieve", RefuseGreeting, "", "BYE \"backend refuses\""},
		{"sieve", RefuseLogin, "AUTHENTICATE \"PLAIN\" \"AA\"\r\n", `NO "Login refused"`},
	} {
		b, err := New(c.protocol, c.quirk)
		require.NoError(t, err)
		got := b.Greeting()
		if c.input != "" {
			got = b.Feed([]byte(c.input))
		}
		require.Equal(t, c.want+"\r\n", string(got), c.protocol)
	}
}

var lineReadings = []reading{
	{"any case", "smtp", 0, "sTaRtTlS\r\n", []string{"STARTTLS"}},
	{"bare LF", "smtp", 0, "STARTTLS\n", []string{"STARTTLS"}},
	{"no end, no line", "smtp", 0, "STARTTLS", nil},
	{"bare CR is a blank", "smtp", 0, "NOOP\rSTARTTLS\r\n", nil},
	{"bare CR ends a line", "smtp", BareCR, "NOOP\rSTARTTLS\r", []string{"STARTTLS"}},
	{"TAB", "smtp", 0, "\tXCLIENT\tADDR=1\r\n", []string{"XCLIENT"}},
	{"VT", "smtp", 0, "\vXCLIENT\vADDR=1\r\n", []string{"XCLIENT"}},
	{"FF", "smtp", 0, "\fXCLIENT\fADDR=1\r\n", []string{"XCLIENT"}},
	{"CR", "smtp", 0, "\rXCLIENT\rADDR=1\r\n", []string{"XCLIENT"}},
	{"NUL", "smtp", 0, "XCLIENT\x00ADDR=1\r\n", []string{"XCLIENT"}},
	{"NUL first", "smtp", AnyControl, "\x00XCLIENT ADDR=1\r\n", nil},
	{"another control character", "smtp", 0, "XCLIENT\x01ADDR=1\r\n", nil},
	{"any control character", "smtp", AnyControl, "\x02XCLIENT\x7fADDR=1\r\n", []string{"XCLIENT"}},
	{"no fold beyond ASCII", "smtp", 0, "\u017fTARTTLS\r\n", nil},
	{"a longer word", "smtp", 0, "STARTTLSX\r\nXSTARTTLS\r\nNOOP STARTTLS\r\n", nil},
	{"bare", "smtp", Bare, "STARTTLS\r\nXCLIENT ADDR=1\r\n", nil},
	{"after the farewell", "smtp", 0, "QUIT\r\nSTARTTLS\r\n", nil},
}

var longReadings = []reading{
	{"whole", "smtp", 0, "XCLIENT ADDR=1" + strings.Repeat(" ", 70000) + "\r\n", []string{"XCLIENT"}},
	{"the beginning", "smtp", DropLong, "XCLIENT ADDR=1" + strings.Repeat(" ", 70000) + "\x01x\r\nNOOP\r\n", []string{"XCLIENT"}},
	{"not the rest", "smtp", DropLong, "NOOP" + strings.Repeat(" ", 2044) + "STARTTLS\r\n", nil},
	{"the rest", "smtp", SplitLong, "NOOP" + strings.Repeat(" ", 2044) + "STARTTLS\r\n", []string{"STARTTLS"}},
	{"before the end", "smtp", SplitLong, "XCLIENT ADDR=1" + strings.Repeat(" ", 2048), []string{"XCLIENT"}},
}

var smtpReadings = []reading{
	{"XFORWARD", "smtp", 0, "xforward NAME=a\r\n", []string{"XFORWARD"}},
	{"XRCPTFORWARD is LMTP's", "smtp", 0, "XRCPTFORWARD a\r\n", nil},
	{"XRCPTFORWARD", "lmtp", 0, "XRCPTFORWARD a\r\n", []string{"XRCPTFORWARD"}},
	{"text", "smtp", 0, "DATA\r\nSTARTTLS\r\n..\r\n.x\r\nSTARTTLS\r\n.\r\nNOOP\r\n", nil},
	{"behind text", "smtp", 0, "DATA\r\nx\r\n.\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"behind no text", "smtp", StrictDots, "DATA\r\n.\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"LF.LF", "smtp", 0, "DATA\r\nx\n.\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"LF.CRLF", "smtp", 0, "DATA\r\nx\n.\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"CR.CR", "smtp", 0, "DATA\r\nx\r.\rSTARTTLS\r\n", []string{"STARTTLS"}},
	{"CRLF.LF", "smtp", 0, "DATA\r\nx\r\n.\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"CRCRLF.CRCRLF", "smtp", 0, "DATA\r\nx\r\r\n.\r\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"CRLF.CRLF alone", "smtp", StrictDots, "DATA\r\n\n.\n\r.\r\r\n.\n\r\n.\r\r\n\n.\r\nSTARTTLS\r\n", nil},
	{"NUL in text", "smtp", 0, "DATA\r\nx\r\n\x00.\r\nSTARTTLS\r\n", nil},
	{"no NUL in text", "smtp", SkipNUL, "DATA\r\nx\r\n\x00.\x00\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"DATA refused", "smtp", RefuseData, "DATA\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"BDAT unknown", "smtp", 0, "BDAT 10\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"BDAT", "smtp", Chunking, "BDAT 10\r\nSTARTTLS\r\nBDAT 0 LAST\r\n", nil},
	{"BDAT of no size", "smtp", Chunking, "BDAT +10\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"BDAT with a sign", "smtp", Chunking | ScanfSizes, "BDAT +10x\r\nSTARTTLS\r\n", nil},
	{"BDAT modulo 2^32", "smtp", Chunking | ScanfSizes, "BDAT 4294967296\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"an answer", "smtp", 0, "AUTH PLAIN\r\nSTARTTLS\r\nAUTH LOGIN\r\nSTARTTLS\r\nXCLIENT a\r\n", nil},
	{"behind an answer", "smtp", 0, "AUTH PLAIN\r\n*\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"no answer asked for", "smtp", 0, "AUTH PLAIN AA\r\nSTARTTLS\r\nAUTH X\r\nSTARTTLS\r\n", []string{"STARTTLS", "STARTTLS"}},
	{"a password", "smtp", Cleartext, "AUTH\tPLAIN AA\r\n", []string{"AUTH"}},
	{"a password inside TLS", "smtp", 0, "AUTH PLAIN AA\r\n", nil},
}

var pop3Readings = []reading{
	{"STLS", "pop3", 0, "\tstls\x00\r\n", []string{"STLS"}},
	{"XCLIENT", "pop3", 0, "XCLIENT ADDR=1\r\n", []string{"XCLIENT"}},
	{"an answer", "pop3", 0, "AUTH PLAIN\r\nSTLS\r\n", nil},
	{"behind a list", "pop3", 0, "AUTH\r\nSTLS\r\n", []string{"STLS"}},
	{"logged in", "pop3", 0, "USER a\r\nPASS b\r\nSTLS\r\nXCLIENT a\r\n", nil},
	{"not logged in", "pop3", RefuseLogin, "USER a\r\nPASS b\r\nSTLS\r\n", []string{"STLS"}},
	{"passwords", "pop3", Cleartext, "AUTH\r\nUSER a\r\nPASS b\r\n", []string{"USER", "PASS"}},
	{"mechanisms", "pop3", Cleartext | RefuseLogin, "AUTH PLAIN\r\n*\r\nAUTH PLAIN AA\r\nAPOP a b\r\n", []string{"AUTH", "AUTH", "APOP"}},
}

var nntpReadings = []reading{
	{"STARTTLS", "nntp", 0, "starttls\x00x\r\n", []string{"STARTTLS"}},
	{"an article", "nntp", 0, "POST\r\nSTARTTLS\r\n.\r\nIHAVE <a>\r\nSTARTTLS\r\n.\r\nTAKETHIS <a>\r\nSTARTTLS\r\n.\r\n", nil},
	{"behind it", "nntp", 0, "POST\r\nx\n.\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"not behind it", "nntp", StrictDots, "POST\r\nx\n.\nSTARTTLS\r\n", nil},
	{"no article", "nntp", RefuseData, "POST\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"an answer", "nntp", 0, "AUTHINFO SASL PLAIN\r\nSTARTTLS\r\n", nil},
	{"logged in", "nntp", 0, "AUTHINFO PASS a\r\nSTARTTLS\r\n", nil},
	{"passwords", "nntp", Cleartext, "AUTHINFO USER a\r\nauthinfo\tpass b\r\n", []string{"AUTHINFO", "AUTHINFO"}},
}

var imapReadings = []reading{
	{"STARTTLS", "imap", 0, "a  starttls\t\x00x\r\n", []string{"STARTTLS"}},
	{"a literal", "imap", 0, "a LOGIN {12+}\r\nb STARTTLS\r\n b\r\n", nil},
	{"a literal that waits", "imap", 0, "a LOGIN {12}\r\nb STARTTLS\r\n b\r\n", nil},
	{"a literal in a known command", "imap", 0, "a NOOP {12+}\r\nb STARTTLS\r\n\r\n", nil},
	{"none in its grammar", "imap", FewLiterals, "a NOOP {12+}\r\nb STARTTLS\r\n", []string{"STARTTLS"}},
	{"none in an unknown command", "imap", 0, "a X {12+}\r\nb STARTTLS\r\n", []string{"STARTTLS"}},
	{"one anywhere", "imap", GreedyLiterals, "a X y{12+}\r\nb STARTTLS\r\n\r\n", nil},
	{"none without a blank", "imap", 0, "a NOOP x{12+}\r\nb STARTTLS\r\n", []string{"STARTTLS"}},
	{"none in quotes", "imap", 0, "a NOOP \"x{12+}\r\nb STARTTLS\r\n", []string{"STARTTLS"}},
	{"none behind ~", "imap", 0, "a NOOP ~{12+}\r\nb STARTTLS\r\n", []string{"STARTTLS"}},
	{"literal8", "imap", Literal8, "a NOOP ~{12+}\r\nb STARTTLS\r\n\r\n", nil},
	{"no LITERAL+", "imap", NoLiteralPlus, "a LOGIN {12+}\r\nb STARTTLS\r\n", []string{"STARTTLS"}},
	{"an escaped quote", "imap", 0, "a ID (\"\\\"\" \"x-a\" \"b\\\\\" {3+}\r\nX-y)\r\n", nil},
	{"ID", "imap", 0, "a ID (\"x-Originating-IP\" \"1\")\r\n", []string{"ID"}},
	{"ID, the second field", "imap", 0, "a ID (\"name\" \"x\" \"X-proxy-ttl\" \"1\")\r\n", []string{"ID"}},
	{"ID in a literal", "imap", 0, "a ID ({4+}\r\nX-ab \"1\")\r\n", []string{"ID"}},
	{"ID in an atom", "imap", 0, "a ID (x-a \"1\")\r\n", []string{"ID"}},
	{"no field", "imap", 0, "a ID (\"name\" \"x-originating-ip\")\r\nb ID NIL\r\n", nil},
	{"an answer", "imap", 0, "a AUTHENTICATE PLAIN\r\nb STARTTLS\r\n", nil},
	{"logged in", "imap", 0, "a LOGIN b c\r\na STARTTLS\r\n", nil},
	{"COMPRESS refused", "imap", 0, "a COMPRESS DEFLATE\r\na STARTTLS\r\n", []string{"STARTTLS"}},
	{"passwords", "imap", Cleartext | RefuseLogin, "a LOGIN b c\r\na AUTHENTICATE PLAIN AA\r\n", []string{"LOGIN", "AUTHENTICATE"}},
}

var sieveReadings = []reading{
	{"STARTTLS", "sieve", 0, "starttls\x00\r\n", []string{"STARTTLS"}},
	{"XCLIENT", "sieve", 0, "XCLIENT \"ADDR=1\" {3+}\r\nabc\r\n", []string{"XCLIENT"}},
	{"a literal", "sieve", 0, "NOOP {10+}\r\nSTARTTLS\r\n\r\n", nil},
	{"none in quotes", "sieve", 0, "NOOP \"a{10+}\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"none in an unknown command", "sieve", 0, "X {10+}\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"none on its own", "sieve", 0, "{10+}\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"one on its own", "sieve", GreedyLiterals, "{10+}\r\nSTARTTLS\r\n\r\n", nil},
	{"none that waits", "sieve", 0, "NOOP {10}\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"one that waits", "sieve", GreedyLiterals, "NOOP {10}\r\nSTARTTLS\r\n\r\n", nil},
	{"none in its grammar", "sieve", FewLiterals, "CAPABILITY {10+}\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"an answer", "sieve", 0, "AUTHENTICATE \"PLAIN\"\r\n{10+}\r\nSTARTTLS\r\n\r\n", nil},
	{"logged in", "sieve", 0, "AUTHENTICATE \"PLAIN\" \"AA\"\r\nSTARTTLS\r\nXCLIENT\r\n", nil},
	{"not logged in", "sieve", RefuseLogin, "AUTHENTICATE \"PLAIN\" \"AA\"\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"a password", "sieve", Cleartext, "authenticate \"PLAIN\" \"AA\"\r\n", []string{"AUTHENTICATE"}},
}

// tlv makes an element with its length in four octets.
func tlv(tag byte, content string) string {
	n := len(content)
	return string([]byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + content
}

func message(id byte, rest string) string { return tlv(0x30, "\x02\x01"+string([]byte{id})+rest) }

func ldapReadings() []reading {
	startTLS := tlv(0x77, tlv(0x80, ldapStartTLS))
	bind := func(name, credentials string) string { return tlv(0x60, "\x02\x01\x03"+tlv(4, name)+credentials) }
	return []reading{
		{"StartTLS", "ldap", 0, message(1, startTLS), []string{"StartTLS"}},
		{"a length in many octets", "ldap", 0, "\x30\x88\x00\x00\x00\x00\x00\x00\x00\x1d\x02\x01\x01\x77\x18\x80\x16" + ldapStartTLS, []string{"StartTLS"}},
		{"with a value", "ldap", 0, message(1, tlv(0x77, tlv(0x80, ldapStartTLS)+"\x81\x00")), []string{"StartTLS"}},
		{"in a long message", "ldap", 0, message(1, startTLS+tlv(0xa0, strings.Repeat("x", 70000))), []string{"StartTLS"}},
		{"another", "ldap", 0, message(1, tlv(0x77, tlv(0x80, ldapStartTLS+"1"))), nil},
		{"anonymous", "ldap", Cleartext, message(1, bind("", "\x80\x00")) + message(2, startTLS), []string{"StartTLS"}},
		{"logged in", "ldap", 0, message(1, bind("cn=a", "\x80\x01x")) + message(2, startTLS), nil},
		{"not logged in", "ldap", RefuseLogin, message(1, bind("cn=a", "\x80\x01x")) + message(2, startTLS), []string{"StartTLS"}},
		{"a password", "ldap", Cleartext, message(1, bind(strings.Repeat("x", 20000), "\x80\x01x")), []string{"bind"}},
		{"a mechanism", "ldap", Cleartext, message(1, bind("", tlv(0xa3, tlv(4, "PLAIN")))), []string{"bind"}},
		{"Compare", "ldap", Cleartext, message(1, tlv(0x6e, tlv(4, "cn=a")+tlv(0x30, tlv(4, "userPassword;x")+tlv(4, "x")))), []string{"compare"}},
		{"Password Modify", "ldap", Cleartext, message(1, tlv(0x77, tlv(0x80, ldapPasswordModify))), []string{"Password Modify"}},
		{"no LDAP", "ldap", 0, "GET /\r\n" + message(1, startTLS), nil},
	}
}

const (
	xmppHeader = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>"
	xmppStart  = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	xmppLogin  = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA</auth>"
)

func wide(text string) string {
	out := "\xff\xfe"
	for _, u := range utf16.Encode([]rune(text)) {
		out += string([]byte{byte(u), byte(u >> 8)})
	}
	return out
}

var xmppReadings = []reading{
	{"starttls", "xmpp", 0, "<?xml version='1.0'?>" + xmppHeader + xmppStart, []string{"starttls"}},
	{"with an end tag", "xmpp", 0, xmppHeader + "<starttls\txmlns=\"urn:ietf:params:xml:ns:xmpp-tls\" a='>'\n></starttls>", []string{"starttls"}},
	{"a prefix", "xmpp", 0, xmppHeader + "<a:starttls xmlns:a = 'urn:ietf:params:xml:ns:xmpp-tls'/>", []string{"starttls"}},
	{"a prefix of the stream", "xmpp", 0, "<s:stream xmlns:s='x' xmlns:a='" + xmppTLS + "'><a:starttls/>", []string{"starttls"}},
	{"the default of the stream", "xmpp", 0, "<s:stream xmlns:s='x' xmlns='" + xmppTLS + "'><starttls/>", []string{"starttls"}},
	{"a character reference", "xmpp", 0, xmppHeader + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tl&#x73;'/>", []string{"starttls"}},
	{"another namespace", "xmpp", 0, xmppHeader + "<starttls/><starttls xmlns='x'/>", nil},
	{"deeper", "xmpp", 0, xmppHeader + "<a>" + xmppStart + "</a>", nil},
	{"behind depth", "xmpp", 0, xmppHeader + strings.Repeat("<a>", 30) + strings.Repeat("</a>", 30) + xmppStart, []string{"starttls"}},
	{"in CDATA", "xmpp", 0, xmppHeader + "<a><![CDATA[</a>" + xmppStart + "]]></a>", nil},
	{"behind CDATA", "xmpp", 0, xmppHeader + "<a><![CDATA[<a>]]></a>" + xmppStart, []string{"starttls"}},
	{"in a comment", "xmpp", 0, xmppHeader + "<!-- " + xmppStart + " > -->", nil},
	{"behind a comment", "xmpp", 0, xmppHeader + "<!-- <a> -->" + xmppStart, []string{"starttls"}},
	{"behind an instruction", "xmpp", 0, xmppHeader + "<?a <a>?>" + xmppStart, []string{"starttls"}},
	{"behind a DOCTYPE", "xmpp", 0, "<!DOCTYPE a [<!ENTITY b '>'>]>" + xmppHeader + xmppStart, []string{"starttls"}},
	{"UTF-16", "xmpp", 0, wide(xmppHeader + xmppStart), []string{"starttls"}},
	{"logged in", "xmpp", 0, xmppHeader + xmppLogin + xmppHeader + xmppStart, nil},
	{"not logged in", "xmpp", RefuseLogin, xmppHeader + xmppLogin + xmppStart, []string{"starttls"}},
	{"a password", "xmpp", Cleartext, xmppHeader + xmppLogin, []string{"auth"}},
	{"an older password", "xmpp", Cleartext, xmppHeader + "<iq><query xmlns='jabber:iq:auth'><password>a</password></query></iq>", []string{"password"}},
}

const (
	pgStartup = "\x00\x00\x00\x10\x00\x03\x00\x00user\x00a\x00\x00"
	pgSSL     = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	pgGSS     = "\x00\x00\x00\x08\x04\xd2\x16\x30"
)

var postgresReadings = []reading{
	{"SSLRequest", "postgres", 0, pgSSL, []string{"SSLRequest"}},
	{"both", "postgres", 0, pgGSS + pgSSL + pgStartup, []string{"GSSENCRequest", "SSLRequest"}},
	{"longer", "postgres", 0, "\x00\x00\x00\x0a\x04\xd2\x16\x2fab", []string{"SSLRequest"}},
	{"started", "postgres", 0, pgStartup + "Q" + pgSSL, nil},
	{"a password", "postgres", Cleartext, pgStartup + "p\x00\x00\x00\x06x\x00", []string{"password"}},
	{"bare", "postgres", Bare | Cleartext, pgSSL + pgStartup, nil},
}
