package upgrade

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An answers is a server that says one thing at each read, and then is gone.
type answers []string

func (a *answers) Read(p []byte) (int, error) {
	if len(*a) == 0 {
		return 0, io.EOF
	}
	n := copy(p, (*a)[0])
	if (*a)[0] = (*a)[0][n:]; (*a)[0] == "" {
		*a = (*a)[1:]
	}
	return n, nil
}

const (
	xmppOpened   = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	xmppMechanic = "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms><sub xmlns='urn:x'/></stream:features>"
)

// ber makes an element with less than 128 octets in it.
func ber(tag byte, contents ...string) string {
	content := strings.Join(contents, "")
	return string([]byte{tag, byte(len(content))}) + content
}

// What a server says that it can do is asked for and returned as it is, whether it has been
// heard before TLS or begins to speak now.
func TestInquire(t *testing.T) {
	for name, test := range map[string]struct {
		proto         *Protocol
		hears, says   string
		greeting      string
		capabilities  []string
		refuses, junk string
	}{
		"smtp": {SMTP, "EHLO localhost\r\n", "250-mx\r\n250-AUTH PLAIN\r\n250 SIZE 10\r\n", "220-a\r\n220 b\r\n", []string{"AUTH PLAIN", "SIZE 10"}, "502 no\r\n", "* OK\r\n"},
		"lmtp": {LMTP, "LHLO localhost\r\n", "250 mx\r\n", "220 mx\r\n", []string{}, "421 no\r\n", "\x16\x03\x01"},
		"imap": {IMAP, "a003 CAPABILITY\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n* 1 EXISTS\r\na003 OK done\r\n", "* OK [CAPABILITY NONE] hi\r\n",
			[]string{"IMAP4rev1", "AUTH=PLAIN"}, "a003 NO\r\n", ""},
		"pop3": {POP3, "CAPA\r\n", "+OK\r\nUSER\r\nSASL PLAIN\r\n.\r\n", "+OK <apop@x>\r\n", []string{"USER", "SASL PLAIN"}, "-ERR\r\n", "220\r\n"},
		"nntp": {NNTP, "CAPABILITIES\r\n", "101 list\r\nVERSION 2\r\nAUTHINFO USER\r\n.\r\n", "201 hi\r\n", []string{"VERSION 2", "AUTHINFO USER"}, "500 no\r\n", "hi\r\n"},
		"sieve": {Sieve, "", "\"SIEVE\" \"fileinto\"\r\n\"SASL\" \"PLAIN\"\r\nOK\r\n", "",
			[]string{`"SIEVE" "fileinto"`, `"SASL" "PLAIN"`}, "BYE\r\n", ""},
		"ftp": {FTP, "FEAT\r\n", "211-Features:\r\n MLST type*;\r\n UTF8\r\n211 End\r\n", "120 wait\r\n220 hi\r\n", []string{"MLST type*;", "UTF8"}, "500 no\r\n", "hi\r\n"},
		"ldap": {LDAP, ber(0x30, "\x02\x01\x02", ber(0x63, ber(4), ber(0xa, "\x00"), ber(0xa, "\x00"), ber(2, "\x00"), ber(2, "\x00"), ber(1, "\x00"),
			ber(0x87, "objectClass"), ber(0x30, ber(4, "supportedLDAPVersion"), ber(4, "supportedSASLMechanisms")))),
			ber(0x30, "\x02\x01\x02", ber(0x64, ber(4), ber(0x30, ber(0x30, ber(4, "supportedSASLMechanisms"), ber(0x31, ber(4, "EXTERNAL"), ber(4, "PLAIN")))))) +
				ber(0x30, "\x02\x01\x02", ber(0x65, ber(0xa, "\x00"), ber(4), ber(4))), "",
			[]string{"supportedSASLMechanisms EXTERNAL", "supportedSASLMechanisms PLAIN"},
			ber(0x30, "\x02\x01\x02", ber(0x65, ber(0xa, "\x32"), ber(4), ber(4))), ber(0x30, "\x02\x01\x03", ber(0x65, ber(0xa, "\x00"), ber(4), ber(4)))},
		"xmpp": {XMPP, "", xmppOpened + xmppMechanic, "", []string{"mechanisms", "sub"}, xmppOpened + "</stream:stream>", "HTTP/1.1 400 no\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			inquire := func(greeted bool, words ...string) ([]string, string, error) {
				var said bytes.Buffer
				options := newConn(nil, test.proto, nil, true).options()
				options.PeerName = "example.org"
				got, err := test.proto.Inquire(dialogue.NewSession(test.proto, options, (*answers)(&words), &said, true), greeted)
				return got, said.String(), err
			}
			got, said, err := inquire(true, test.says)
			require.NoError(t, err)
			require.Equal(t, test.capabilities, got)
			if test.hears != "" {
				require.Equal(t, test.hears, said)
			}
			require.NotEmpty(t, test.proto.Quit, "who can be asked can be told goodbye")
			if test.greeting != "" {
				got, _, err = inquire(false, test.greeting, test.says)
				require.NoError(t, err)
				require.Equal(t, test.capabilities, got)
				_, said, err = inquire(false, test.refuses, test.says)
				require.Error(t, err)
				require.Empty(t, said, "nothing is said to one that has not greeted")
			}
			_, _, err = inquire(true, test.refuses)
			require.ErrorIs(t, err, ErrRefused)
			_, _, err = inquire(true, test.says[:len(test.says)-3])
			require.ErrorIs(t, err, io.EOF)
			if test.junk != "" {
				_, _, err = inquire(true, test.junk)
				require.ErrorIs(t, err, ErrMalformed)
			}
		})
	}
	for _, p := range Protocols() {
		if p.ImplicitPort != 0 {
			require.NotNil(t, p.Request, p.Name)
		}
	}
}
