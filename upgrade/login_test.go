package upgrade

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A login is what a server says of logging in without TLS.
type login struct {
	protocol, name string
	script         string // in the form of the transcripts
	known, offered bool
	outcome        error
}

var logins = []login{
	{"smtp", "AUTH", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250-AUTH PLAIN LOGIN\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go", true, true, nil},
	{"smtp", "AUTH=", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250-STARTTLS\nS: 250 auth=LOGIN\nC: STARTTLS\nS: 220 go", true, true, nil},
	{"smtp", "none", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250-AUTHX\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go", true, false, nil},
	{"smtp", "in the host's name only", "S: 220 mx\nC: EHLO localhost\nS: 250-AUTH PLAIN\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go", true, false, nil},
	{"smtp", "no TLS", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250 AUTH PLAIN", true, true, ErrNotOffered},
	{"smtp", "refused", "S: 220 mx\nC: EHLO localhost\nS: 250-mx\nS: 250-AUTH PLAIN\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 no", true, true, ErrRefused},
	{"smtp", "no greeting", "S: 554 no", false, false, ErrRefused},
	{"lmtp", "none", "S: 220 mx\nC: LHLO localhost\nS: 250-mx\nS: 250 PIPELINING", true, false, ErrNotOffered},

	{"imap", "LOGIN", "S: * OK [CAPABILITY IMAP4rev1 STARTTLS] hi\nC: a002 STARTTLS\nS: a002 OK go", true, true, nil},
	{"imap", "LOGINDISABLED", "S: * OK [CAPABILITY IMAP4rev1 STARTTLS LoginDisabled] hi\nC: a002 STARTTLS\nS: a002 OK go", true, false, nil},
	{"imap", "a mechanism", "S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED AUTH=PLAIN] hi\nC: a002 STARTTLS\nS: a002 OK go", true, true, nil},
	{"imap", "the later list counts", "S: * OK [CAPABILITY IMAP4rev1] hi\nC: a001 CAPABILITY\nS: * CAPABILITY IMAP4rev1 LOGINDISABLED\nS: a001 OK", true, false, ErrNotOffered},
	{"imap", "no list", "S: * OK hi\nC: a001 CAPABILITY\nS: a001 BAD what", false, false, ErrRefused},

	{"pop3", "USER", "S: +OK hi\nC: CAPA\nS: +OK\nS: USER\nS: STLS\nS: .\nC: STLS\nS: +OK", true, true, nil},
	{"pop3", "SASL", "S: +OK hi\nC: CAPA\nS: +OK\nS: sasl PLAIN\nS: .", true, true, ErrNotOffered},
	{"pop3", "SASL without mechanisms", "S: +OK hi\nC: CAPA\nS: +OK\nS: SASL\nS: STLS\nS: .\nC: STLS\nS: +OK", true, false, nil},
	{"pop3", "no CAPA", "S: +OK hi\nC: CAPA\nS: -ERR what", false, false, ErrNotOffered},

	{"sieve", "SASL", "S: \"SASL\" \"PLAIN\"\nS: \"STARTTLS\"\nS: OK\nC: STARTTLS\nS: OK", true, true, nil},
	{"sieve", "none", "S: \"sasl\" \"\"\nS: \"STARTTLS\"\nS: OK\nC: STARTTLS\nS: OK", true, false, nil},
	{"sieve", "no TLS", "S: \"SASL\" \"PLAIN\"\nS: OK", true, true, ErrNotOffered},
	{"sieve", "says nothing of it", "S: \"STARTTLS\"\nS: OK\nC: STARTTLS\nS: OK", false, false, nil},

	{"xmpp", "mechanisms", xmppScript("<starttls xmlns='" + xmppTLS + "'/><mechanisms xmlns='" + xmppSASL + "'><mechanism>PLAIN</mechanism></mechanisms>"), true, true, ErrRefused},
	{"xmpp", "none", xmppScript("<starttls xmlns='" + xmppTLS + "'><required/></starttls>"), true, false, ErrRefused},
	{"xmpp", "of another namespace", xmppScript("<starttls xmlns='" + xmppTLS + "'/><mechanisms xmlns='urn:other'/>"), true, false, ErrRefused},
	{"xmpp", "no TLS", xmppHello + "S= \"<stream:features><mechanisms xmlns='" + xmppSASL + "'/></stream:features>\"", true, true, ErrNotOffered},

	{"ldap", "has no word for it", "C# 30 1d 02 01 01 77 18 80 16 312e332e362e312e342e312e313436362e3230303337\nS# 30 0c 02 01 01 78 07 0a 01 00 04 00 04 00", false, false, nil},
	{"postgres", "has no word for it", "C# 00 00 00 08 04 d2 16 2f\nS= \"S\"", false, false, nil},
	{"line", "has no word for it", "C= \"STARTTLS\\n\"", false, false, nil},
}

const (
	xmppHello = "C= \"" + xmppHead + " to='mail.example.com'" + xmppHeadTail + "\"\n" +
		"S= \"<stream:stream xmlns='" + xmppClient + "' xmlns:stream='" + xmppStreams + "' version='1.0'>\"\n"
)

// xmppScript is a server that has these features, and then refuses.
func xmppScript(features string) string {
	return xmppHello + "S= \"<stream:features>" + features + "</stream:features>\"\n" +
		"C= \"" + xmppAsk + "\"\nS= \"" + xmppFailure + "\""
}

func TestPlaintextLogin(t *testing.T) {
	for _, l := range logins {
		t.Run(l.protocol+"/"+l.name, func(t *testing.T) {
			proto, err := Lookup(l.protocol)
			require.NoError(t, err)
			d := newDialogue(l.name)
			for line := range strings.SplitSeq(l.script, "\n") {
				require.NoError(t, d.add(line))
			}
			config := &Config{TLS: &tls.Config{ServerName: "mail.example.com", MinVersion: tls.VersionTLS12}}
			script := &scriptConn{steps: d.steps}
			conn, err := RequestPlaintext(context.Background(), script, proto, config)
			require.NoError(t, script.problem)
			require.ErrorIs(t, err, l.outcome)
			offered, known := conn.PlaintextLogin()
			require.Equal(t, l.known, known, "known")
			require.Equal(t, l.offered, offered, "offered")
		})
	}
}

// A server's side has nobody to ask.
func TestPlaintextLoginIsUnknownToServers(t *testing.T) {
	offered, known := Server(new(scriptConn), nil).PlaintextLogin()
	require.False(t, offered)
	require.False(t, known)
}
