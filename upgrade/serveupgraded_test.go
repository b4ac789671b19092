package upgrade

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// upstreamConfig is that of a client of up.example.com.
func upstreamConfig() *Config {
	return &Config{Hostname: "client.example", TLS: &tls.Config{ServerName: "up.example.com", MinVersion: tls.VersionTLS12}}
}

// hasUpgradedFilter reports whether a client of an upgraded server has a filter.
func hasUpgradedFilter(p *Protocol) bool {
	s := dialogue.Situation{Upgraded: true, Options: new(dialogue.Options)}
	return p.Join != nil && p.Join(s) != nil
}

// A client is greeted where it waits for a greeting that the server does not have
// inside TLS: in the server's name, or in ours if it has none.
func TestServeUpgradedGreets(t *testing.T) {
	greetings := map[*Protocol]string{
		SMTP: "220 %s ESMTP\r\n", LMTP: "220 %s LMTP\r\n", IMAP: "* OK %s IMAP4rev1 server ready\r\n", POP3: "+OK %s POP3 server ready\r\n",
	}
	for _, p := range protocols {
		for name, config := range map[string]*Config{
			"up.example.com": upstreamConfig(),
			"client.example": {Hostname: "client.example", TLS: new(tls.Config)},
			"localhost":      nil,
		} {
			client := newScriptedClient(0)
			x := ServeUpgraded(client, newConn(nil, p, config, true))
			want, ok := greetings[p]
			if !ok && p.Greeting != "" { // which is pinned in its folder
				want = p.Greeting
			}
			want = strings.ReplaceAll(want, "%s", name)
			got, end := client.take()
			require.Equal(t, want, got, p.Name)
			require.False(t, end)
			require.NoError(t, x.Err())
		}
	}
}

// Where there is no filter, everything passes both ways, from the first octet.
func TestServeUpgradedPassesEverything(t *testing.T) {
	every := "\x16STARTTLS\r\n220-STARTTLS\r\n* CAPABILITY STARTTLS\r\n\"STARTTLS\"\r\n<starttls/>"
	for b := range 256 {
		every += string([]byte{byte(b), '\n'})
	}
	for _, p := range protocols {
		if hasUpgradedFilter(p) {
			continue
		}
		client := newScriptedClient(0)
		x := ServeUpgraded(client, newConn(nil, p, upstreamConfig(), true))
		client.take()
		client.say([]byte(every), true)
		got, err := io.ReadAll(x)
		require.NoError(t, err)
		require.Equal(t, every, string(got), p.Name)
		_, err = io.WriteString(x, every)
		require.NoError(t, err)
		require.NoError(t, x.CloseWrite())
		back, end := client.take()
		require.Equal(t, every, back, p.Name)
		require.True(t, end)
	}
}

// The configuration is shared with other connections.
func TestServeUpgradedLeavesTheConfigAlone(t *testing.T) {
	config := upstreamConfig()
	ServeUpgraded(newScriptedClient(0), newConn(nil, SMTP, config, true))
	require.Equal(t, "client.example", config.Hostname)
}

// rejectionCauses are the kinds of failure, and what a client is told of them.
func rejectionCauses() map[string][]error {
	network := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	certificate := &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: new(x509.Certificate), Host: "secret"}}
	return map[string][]error{
		"Upstream does not offer TLS":                {ErrNotOffered},
		"Upstream refused TLS":                       {ErrRefused, dialogue.Refusal(ErrRefused, "554 secret")},
		"Upstream violated the protocol before TLS":  {ErrPipelined, ErrNotTLS, ErrMalformed, ErrLineTooLong, ErrTooMany},
		"Upstream certificate could not be verified": {certificate, handshakeError(certificate)},
		"Upstream timed out":                         {ErrTimeout, os.ErrDeadlineExceeded, handshakeError(os.ErrDeadlineExceeded)},
		"TLS with upstream failed":                   {handshakeError(tls.AlertError(40)), handshakeError(ErrTruncated), handshakeError(io.EOF)},
		"Upstream not available": {
			network, io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, ErrTruncated, ErrUnsupported, ErrBackend, ErrQuit,
			context.Canceled, context.DeadlineExceeded, errors.New("secret"),
		},
	}
}

// A rejectionCase is what a client says to hear that there is no server, and what it
// hears.
type rejectionCase struct {
	say  string
	hear func(text string, forTLS bool) string
}

var rejectionCases = map[*Protocol]rejectionCase{
	SMTP:  {hear: smtpUnavailableLine},
	LMTP:  {hear: smtpUnavailableLine},
	IMAP:  {hear: func(text string, _ bool) string { return "* BYE [UNAVAILABLE] " + text + "\r\n" }},
	POP3:  {hear: func(text string, _ bool) string { return "-ERR [SYS/TEMP] " + text + "\r\n" }},
	Sieve: {hear: func(text string, _ bool) string { return "BYE (TRYLATER) \"" + text + "\"\r\n" }},
	Line:  {hear: func(string, bool) string { return "" }},
	LDAP:  {ldapHello, func(text string, _ bool) string { return ldapUnavailableTo("\x01", 0x61, text) }},
	XMPP: {hear: func(text string, _ bool) string {
		return "<?xml version='1.0'?><stream:stream from='up.example.com' id='0123456789' xml:lang='en' " +
			"xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:error>" +
			"<remote-connection-failed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" +
			"<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" + text + "</text></stream:error></stream:stream>"
	}},
	Postgres: {postgresHello, func(text string, _ bool) string { return postgresUnavailableTo(text) }},
}

const (
	ldapHello     = "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"
	postgresHello = "\x00\x00\x00\x14\x00\x03\x00\x00user\x00alice\x00\x00"
)

func smtpUnavailableLine(text string, forTLS bool) string {
	if forTLS {
		return "421 4.7.5 up.example.com " + text + "\r\n"
	}
	return "421 4.3.2 up.example.com " + text + "\r\n"
}

func ldapUnavailableTo(id string, response byte, text string) string {
	result := "\x0a\x01\x34\x04\x00\x04" + string(rune(len(text))) + text
	answer := "\x02" + string(rune(len(id))) + id + string([]byte{response, byte(len(result))}) + result
	return "\x30" + string(rune(len(answer))) + answer
}

func postgresUnavailableTo(text string) string { return postgresErrorOf("57P03", text) }

func postgresErrorOf(code, text string) string {
	fields := "SFATAL\x00VFATAL\x00C" + code + "\x00M" + text + "\x00\x00"
	return "E\x00\x00\x00" + string([]byte{byte(4 + len(fields))}) + fields
}

// rejectionCaseOf is that of a protocol. Where none is here it is the one in the protocol's folder,
// by whose pattern the text must be heard.
func rejectionCaseOf(t *testing.T, p *Protocol) (say string, check func(heard, text string, forTLS bool)) {
	t.Helper()
	if c, ok := rejectionCases[p]; ok {
		return c.say, func(heard, text string, forTLS bool) { require.Equal(t, c.hear(text, forTLS), heard, p.Name) }
	}
	if p.Tunnel {
		return "", func(heard, _ string, _ bool) { require.Empty(t, heard, p.Name) }
	}
	say, pattern := fromSession(t, p, "no backend")
	require.NotEmpty(t, pattern, "%s needs what a client hears", p.Name)
	if p.Reject == nil {
		say = "" // which is said inside TLS
	}
	return say, func(heard, text string, _ bool) {
		want := strings.NewReplacer("NAME", "up.example.com", "WHY", regexp.QuoteMeta(text)).Replace(pattern)
		require.Regexp(t, want, testkit.Latin1(heard), p.Name)
	}
}

// Every kind of failure is worded in every protocol, and nothing else of it is told.
func TestRejectClientTellsTheKind(t *testing.T) {
	for _, p := range protocols {
		say, check := rejectionCaseOf(t, p)
		for text, causes := range rejectionCauses() {
			for _, cause := range causes {
				why := fmt.Errorf("upgrade: %s: %w: 421 secret", p.Name, cause)
				got, end := hearRejection(p, upstreamConfig(), why, say)
				check(got, text, text != "Upstream not available")
				require.True(t, end, p.Name)
			}
		}
	}
}

// withoutStreamID replaces the id of an XMPP stream, which is another one each time.
func withoutStreamID(heard string) string { return streamID.ReplaceAllString(heard, "id='0123456789'") }

var streamID = regexp.MustCompile(`\bid='[A-Z2-7]{26}'`)

// hearRejection returns what a client hears that says something and then ends.
func hearRejection(p *Protocol, config *Config, why error, say string) (heard string, end bool) {
	client := newScriptedClient(0)
	client.say([]byte(say), true)
	RejectClient(client, p, config, why)
	heard, end = client.take()
	return withoutStreamID(heard), end
}

// LDAP answers the first request that has an answer, whatever it is.
func TestRejectClientAnswersLDAP(t *testing.T) {
	const text = "Upstream timed out"
	message := func(id, rest string) string {
		return string([]byte{0x30, byte(2 + len(id) + len(rest)), 0x02, byte(len(id))}) + id + rest
	}
	const unbind, abandon, bind, search = "\x42\x00", "\x50\x01\x01", "\x60\x07\x02\x01\x03\x04\x00\x80\x00", "\x63\x02\x04\x00"
	startTLS := "\x77\x18\x80\x16" + "1.3.6.1.4.1.1466.20037"
	for name, c := range map[string]struct{ say, hear string }{
		"bind":               {message("\x07", bind), ldapUnavailableTo("\x07", 0x61, text)},
		"search":             {message("\x01\x02\x03", search), ldapUnavailableTo("\x01\x02\x03", 0x65, text)},
		"StartTLS":           {message("\x01", startTLS), ldapUnavailableTo("\x01", 0x78, text)},
		"abandon, then bind": {message("\x01", abandon) + message("\x02", bind), ldapUnavailableTo("\x02", 0x61, text)},
		"the first of two":   {message("\x01", bind) + message("\x02", search), ldapUnavailableTo("\x01", 0x61, text)},
		"unbind":             {message("\x01", unbind), ""},
		"nothing":            {"", ""},
		"half a message":     {message("\x01", bind)[:9], ""},
		"no LDAP":            {"GET / HTTP/1.1\r\n\r\n", string(LDAP.ErrorReply(nil, ErrMalformed))},
	} {
		got, end := hearRejection(LDAP, upstreamConfig(), ErrTimeout, c.say)
		require.Equal(t, c.hear, got, name)
		require.Equal(t, c.say != "" && name != "half a message", end, name) // or it was the client that ended
	}
}

// PostgreSQL's clients hear out nothing before their wish for encryption is refused.
func TestRejectClientAnswersPostgres(t *testing.T) {
	ssl, gss, no := "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x00\x00\x00\x08\x04\xd2\x16\x30", postgresUnavailableTo("Upstream timed out")
	for name, c := range map[string]struct{ say, hear string }{
		"startup":          {postgresHello, no},
		"SSLRequest":       {ssl + postgresHello, "N" + no},
		"both wishes":      {gss + ssl + postgresHello, "NN" + no},
		"only a wish":      {ssl, "N"},
		"cancellation":     {"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02", ""},
		"half a message":   {postgresHello[:10], ""},
		"a ClientHello":    {"\x16\x03\x01", postgresErrorOf("08P01", "invalid startup packet")},
		"too much of it":   {strings.Repeat(ssl, 60), strings.Repeat("N", 50) + postgresErrorOf("08P01", "invalid startup packet")},
		"too long a start": {"\x00\x00\xff\xff\x00\x03\x00\x00", postgresErrorOf("08P01", "invalid startup packet")},
	} {
		got, _ := hearRejection(Postgres, upstreamConfig(), ErrTimeout, c.say)
		require.Equal(t, c.hear, got, name)
	}
}

// A client that says nothing has as long as a negotiation may take, and one that does
// not go has a moment to read.
func TestRejectClientWaitsForNobody(t *testing.T) {
	for _, p := range protocols {
		t.Run(p.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer func() { _, _ = near.Close(), far.Close() }()
				go func() { _, _ = io.Copy(io.Discard, far) }()
				config := upstreamConfig()
				config.NegotiationTimeout = 10 * time.Second
				start := time.Now()
				RejectClient(&halfPipe{near}, p, config, ErrNotOffered)
				limit := drainTimeout
				if p.Reject != nil {
					limit += config.NegotiationTimeout
				}
				require.LessOrEqual(t, time.Since(start), limit)
			})
		})
	}
}

// A halfPipe can be ended in one direction, or makes believe.
type halfPipe struct{ net.Conn }

func (*halfPipe) CloseWrite() error { return nil }

// What Request has kept of the server's plaintext is the filter's to know.
func TestServeUpgradedHandsOnWhatWasKept(t *testing.T) {
	var got dialogue.Situation
	p := &Protocol{Name: "kept", Join: func(s dialogue.Situation) dialogue.Filter {
		got = s
		return nil
	}}
	up := newConn(nil, p, upstreamConfig(), true)
	up.plain.kept = []byte("salt")
	ServeUpgraded(newScriptedClient(0), up)
	require.Equal(t, "salt", string(got.Kept))
	require.True(t, got.Upgraded)
}
