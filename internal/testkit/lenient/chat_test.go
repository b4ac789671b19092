package lenient

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var ircReadings = []reading{
	{"STARTTLS", "irc", 0, "starttls x\r\n", []string{"STARTTLS"}},
	{"WEBIRC", "irc", 0, "WEBIRC pw gateway host 192.0.2.5\r\n", []string{"WEBIRC"}},
	{"CR is nothing", "irc", 0, "START\rTLS\n", []string{"STARTTLS"}},
	{"NUL is a blank", "irc", 0, "\x00STARTTLS\x00x\r\n", []string{"STARTTLS"}},
	{"a source", "irc", 0, " :a  STARTTLS\r\n", []string{"STARTTLS"}},
	{"tags", "irc", 0, "@a=b :c STARTTLS\r\n", []string{"STARTTLS"}},
	{"nothing but a source", "irc", 0, ":STARTTLS\r\n", nil},
	{"a parameter", "irc", 0, "PING STARTTLS\r\nNICK :STARTTLS\r\n", nil},
	{"half of a registration", "irc", 0, "NICK a\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"registered", "irc", 0, "NICK a\r\nUSER a 0 * :a\r\nSTARTTLS\r\nWEBIRC a b c d\r\n", nil},
	{"registration refused", "irc", RefuseLogin, "NICK a\r\nUSER a 0 * :a\r\nSTARTTLS\r\n", []string{"STARTTLS"}},
	{"passwords", "irc", Cleartext, "pass a\r\nNICK a\r\nUSER a 0 * :a\r\nOPER a b\r\nAUTHENTICATE PLAIN\r\n", []string{"PASS", "OPER", "AUTHENTICATE"}},
}

const xmppServerHeader = "<stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>"

var xmppServerReadings = []reading{
	{"starttls", "xmpp-server", 0, xmppServerHeader + xmppStart, []string{"starttls"}},
	{"a login by address", "xmpp-server", 0, xmppServerHeader + "<auth xmlns='" + xmppSASL + "' mechanism='EXTERNAL'>=</auth>", []string{"auth"}},
	{"starttls behind it", "xmpp-server", 0, xmppServerHeader + "<auth xmlns='" + xmppSASL + "'>=</auth>" + xmppServerHeader + xmppStart, []string{"auth", "starttls"}},
	{"starttls behind dialback", "xmpp-server", 0, xmppServerHeader + "<db:result from='b' to='a'>x</db:result>" + xmppStart, []string{"starttls"}},
	{"a plain one", "xmpp-server", Bare, xmppServerHeader + "<auth xmlns='" + xmppSASL + "'>=</auth>" + xmppStart, nil},
}

// A server takes another's word once that has been asked back, and answers stanzas.
func TestServerToServer(t *testing.T) {
	b, err := New("xmpp-server")
	require.NoError(t, err)
	require.Contains(t, string(b.Feed([]byte(xmppServerHeader))), " xmlns='jabber:server' "+"xmlns:stream='http://etherx.jabber.org/streams' id='1' from='backend' version='1.0'"+
		" xmlns:db='jabber:server:dialback'><stream:features><starttls xmlns='"+xmppTLS+"'/><mechanisms xmlns='"+xmppSASL+"'><mechanism>EXTERNAL</mechanism></mechanisms>")
	require.Equal(t, "<db:result from='backend' to='b' type='valid'/>", string(b.Feed([]byte("<db:result from='b' to='a'>x</db:result>"))))
	require.Equal(t, "<iq type='result' id='1'/>", string(b.Feed([]byte("<iq/>"))))
}

var telnetReadings = []reading{
	{"WILL", "telnet", 0, "\xff\xfb\x2e", []string{"START_TLS"}},
	{"DO", "telnet", 0, "x\xff\xf1\xff\xff\xff\xfd\x2e", []string{"START_TLS"}},
	{"a subnegotiation", "telnet", 0, "\xff\xfa\x2e\x01\xff\xf0", []string{"START_TLS"}},
	{"amid another", "telnet", 0, "\xff\xfa\x18\x00\xff\xfb\x2e", []string{"START_TLS"}},
	{"refused", "telnet", 0, "\xff\xfc\x2e\xff\xfe\x2e", nil},
	{"data", "telnet", 0, "\xff\xff\xfb\x2e\xff\xfa\x18\xff\xff\xfb\x2e\xff\xf0", nil},
}

func TestTelnet(t *testing.T) {
	b, err := New("telnet")
	require.NoError(t, err)
	require.Equal(t, "backend login: ", string(b.Greeting()))
	require.Equal(t, "a\xff\xff\r\n\xff\xfb\x01b\n", string(b.Feed([]byte("a\xff\xff\r\n\xff\xfa\x18c\xff\xf0\xff\xfd\x01b\n"))))
}
