package dialogue_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/imap"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/ldap"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/line"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/pop3"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/postgres"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/sieve"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/smtp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/xmpp"
)

// A turn is what one side says. The client's have no reply, the backend's begin with "S:".
type turns []string

const (
	ldapBind     = "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"
	ldapBound    = "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
	postgresHead = "\x00\x00\x00\x14\x00\x03\x00\x00user\x00alice\x00\x00"
	xmppHead     = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)

// settled are sessions in which the filter stays, up to where nobody owes anything.
var settled = map[*dialogue.Protocol]turns{
	smtp.Protocol:     {"S:220 b\r\n", "EHLO c\r\n", "S:250-b\r\n250 STARTTLS\r\n", "NOOP\r\nSTARTTLS\r\n", "S:250 ok\r\n"},
	smtp.LMTP:         {"S:220 b\r\n", "LHLO c\r\n", "S:250-b\r\n250 STARTTLS\r\n", "NOOP\r\nSTARTTLS\r\n", "S:250 ok\r\n"},
	imap.Protocol:     {"S:* OK b\r\n", "a CAPABILITY\r\nb STARTTLS\r\n", "S:* CAPABILITY IMAP4rev1 STARTTLS\r\na OK\r\n"},
	pop3.Protocol:     {"S:+OK b\r\n", "CAPA\r\nSTLS\r\n", "S:+OK\r\nSTLS\r\nUSER\r\n.\r\n"},
	sieve.Protocol:    {"S:\"STARTTLS\"\r\nOK\r\n", "CAPABILITY\r\nSTARTTLS\r\n", "S:\"STARTTLS\"\r\nOK\r\n"},
	ldap.Protocol:     {ldapBind, "S:" + ldapBound},
	postgres.Protocol: {postgresHead, "S:R\x00\x00\x00\x0c\x00\x00\x00\x05salt", "p\x00\x00\x00\x05\x00"},
	xmpp.Protocol:     {xmppHead, "S:" + xmppHead + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>", "<presence/>"},
	line.Protocol:     {"PING\n", "S:PONG\n"},
}

// begin makes an Exchange of a protocol's filter.
func begin(t testing.TB, p *dialogue.Protocol) *dialogue.Exchange {
	filter := p.Join(dialogue.Situation{
		Client: dialogue.Greeted, Options: &dialogue.Options{Hostname: "b", Declared: p.Options},
		Cleartext: p == postgres.Protocol || p == line.Protocol, // whose filters leave otherwise
	})
	require.NotNil(t, filter)
	return dialogue.NewExchange(filter, func(why error) []byte { t.Error(why); return nil }, func(string) {})
}

// play has both sides say their turns, in pieces of so many octets, and takes out all
// that is delivered.
func play(x *dialogue.Exchange, turns turns, piece int) {
	out := make([]byte, 4096)
	for _, turn := range turns {
		text, backend := strings.CutPrefix(turn, "S:")
		for len(text) > 0 {
			part := text[:min(piece, len(text))]
			text = text[len(part):]
			if backend {
				x.BackendSays([]byte(part))
			} else {
				x.ClientSays([]byte(part), out)
			}
			for x.ClientSays(nil, out)+x.DeliverToBackend(out)+len(x.DeliverToClient()) > 0 {
			}
		}
	}
}

// A session that waits holds no buffer of ours, however what was said in it has come, and
// although its filter stays.
func TestSettledSessionHoldsNothing(t *testing.T) {
	for p, turns := range settled {
		for _, piece := range []int{1, 7, 4096} {
			t.Run(fmt.Sprintf("%s/%d", p.Name, piece), func(t *testing.T) {
				x := begin(t, p)
				play(x, turns, piece)
				require.False(t, x.Detached())
				require.False(t, x.Closed())
				require.False(t, x.Held())
				require.True(t, x.HoldsNothing())
			})
		}
	}
}

// Every protocol is among them that has a filter.
func TestSettledIsComplete(t *testing.T) { require.Len(t, settled, 9) }

// Payload passes without an allocation, where it lies, in the reader's own buffer.
func TestPayloadPassesInPlace(t *testing.T) {
	message := bytes.Repeat([]byte("a line of a message, of which there are many\r\n.. and one that begins with a dot\r\n"), 300)
	octets := bytes.Repeat([]byte("\x00\r\n.\r\n"), 4096)
	ehlo := turns{"S:220 b\r\n", "EHLO c\r\n", "S:250-b\r\n250-CHUNKING\r\n250 STARTTLS\r\n"}
	for name, test := range map[string]struct {
		begin turns
		part  []byte
	}{
		"DATA": {turns{"DATA\r\n", "S:354 go on\r\n"}, message},
		"BDAT": {turns{"BDAT 2147483647 LAST\r\n"}, octets},
	} {
		t.Run(name, func(t *testing.T) {
			x := begin(t, smtp.Protocol)
			play(x, append(ehlo, test.begin...), 4096)
			buffer := make([]byte, len(test.part))
			copy(buffer, test.part)
			require.Zero(t, testing.AllocsPerRun(100, func() {
				if n := x.ClientSays(buffer, buffer); n != len(test.part) {
					t.Fatalf("%d of %d octets", n, len(test.part))
				}
			}))
			require.True(t, bytes.Equal(test.part, buffer))
			require.True(t, x.HoldsNothing())
		})
	}
}

// Nor do replies that pass as they are allocate for their lanes.
func TestRepliesPassInPlace(t *testing.T) {
	x := begin(t, line.Protocol)
	said := []byte("PONG\n")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if out := x.BackendSays(said); &out[0] != &said[0] {
			t.Fatal("a copy")
		}
	}))
}
