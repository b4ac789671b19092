package upgrade

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// answered returns what becomes of a request when the server says these parts, each of
// them once it has been spoken to, or has spoken.
func answered(t *testing.T, p *Protocol, own map[string]string, parts ...string) error {
	t.Helper()
	raw, server := memPair()
	ended := make(chan error, 1)
	go func() {
		_, client := coreTLS()
		_, err := Request(context.Background(), raw, p, &Config{TLS: client, Options: own})
		ended <- err
	}()
	for _, part := range parts {
		synctest.Wait()
		server.in.take()
		tell(t, server, part)
	}
	err := <-ended
	_ = server.Close()
	return err
}

// What a server answers in place of its consent is quoted, whatever it is.
func TestRefusalsAreQuoted(t *testing.T) {
	const header = "<?xml version='1.0'?><stream:stream from='x' id='1' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	const offer = header + "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
	ldapRefusal := "\x30\x10\x02\x01\x01\x78\x0b\x0a\x01\x34\x04\x00\x04\x04busy"
	for name, c := range map[string]struct {
		proto  *Protocol
		own    map[string]string
		parts  []string
		why    error
		quoted string
	}{
		"smtp":                {SMTP, nil, []string{"554 go\x07away\r\n"}, ErrRefused, `"554 go\aaway"`},
		"smtp malformed":      {SMTP, nil, []string{"hello\r\n"}, ErrMalformed, `"hello\r\n"`},
		"lmtp":                {LMTP, nil, []string{"421 no\r\n"}, ErrRefused, `"421 no"`},
		"imap":                {IMAP, nil, []string{"* BYE no\r\n"}, ErrRefused, `"* BYE no"`},
		"imap malformed":      {IMAP, nil, []string{"+OK wrong port\r\n"}, ErrMalformed, `"+OK wrong port\r\n"`},
		"pop3":                {POP3, nil, []string{"-ERR no\r\n"}, ErrRefused, `"-ERR no"`},
		"pop3 malformed":      {POP3, nil, []string{"220 wrong port\r\n"}, ErrMalformed, `"220 wrong port\r\n"`},
		"sieve":               {Sieve, nil, []string{"BYE \"no\"\r\n"}, ErrRefused, `"BYE \"no\""`},
		"sieve malformed":     {Sieve, nil, []string{"220 wrong port\r\n"}, ErrMalformed, `"220 wrong port\r\n"`},
		"ldap":                {LDAP, nil, []string{ldapRefusal}, ErrRefused, `result code 52: "busy"`},
		"ldap malformed":      {LDAP, nil, []string{"220 wrong port\r\n"}, ErrMalformed, `"220 wrong port\r\n"`},
		"postgres":            {Postgres, nil, []string{"E\x00\x00\x00\x0aMbusy"}, ErrRefused, `busy"`},
		"postgres malformed":  {Postgres, nil, []string{"220 wrong port\r\n"}, ErrMalformed, `"220 wrong port\r\n"`},
		"xmpp":                {XMPP, nil, []string{offer, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}, ErrRefused, `<failure`},
		"xmpp error":          {XMPP, nil, []string{header + "<stream:error><host-unknown/></stream:error>"}, ErrRefused, `<host-unknown/>`},
		"xmpp malformed":      {XMPP, nil, []string{"220 wrong port\r\n"}, ErrMalformed, `220 wrong port`},
		"line":                {Line, map[string]string{"reply": "GO"}, []string{"NO\n"}, ErrRefused, `"NO"`},
		"a long one":          {SMTP, nil, []string{"554 " + strings.Repeat("x", 3000) + "\r\n"}, ErrRefused, `xxx"...`},
		"a long one, no line": {SMTP, nil, []string{strings.Repeat("x", 5000)}, ErrLineTooLong, `xxx"...`},
	} {
		inBubble(t, name, func(t *testing.T) {
			err := answered(t, c.proto, c.own, c.parts...)
			require.ErrorIs(t, err, c.why)
			require.Contains(t, err.Error(), c.quoted)
			require.Less(t, len(err.Error()), 500)
			require.NotContains(t, err.Error(), "\r")
		})
	}
}

// A server that may expect TLS from the first byte is told from one that is merely slow,
// or that refuses.
func TestServerThatExpectsTLS(t *testing.T) {
	for _, p := range Protocols() {
		inBubble(t, p.Name+" silent", func(t *testing.T) {
			begun := time.Now()
			err := answered(t, p, nil)
			require.ErrorIs(t, err, ErrExpectsTLS)
			require.Positive(t, time.Since(begun))
		})
	}
	inBubble(t, "alert", func(t *testing.T) {
		require.ErrorIs(t, answered(t, SMTP, nil, "\x15\x03\x01\x00\x02\x02\x46"), ErrExpectsTLS)
	})
	inBubble(t, "greets, then is silent", func(t *testing.T) {
		err := answered(t, SMTP, nil, "220 hello\r\n")
		require.ErrorIs(t, err, ErrTimeout)
		require.NotErrorIs(t, err, ErrExpectsTLS)
	})
	inBubble(t, "consents, then is silent", func(t *testing.T) {
		err := answered(t, Postgres, nil, "S")
		require.ErrorContains(t, err, "handshake")
		require.NotErrorIs(t, err, ErrExpectsTLS)
	})
}

// A client that tries to log in before TLS is found out, whether it is refused before the
// backend is there or in front of it.
func TestTriedLogin(t *testing.T) {
	for name, c := range map[string]struct {
		proto *Protocol
		said  string
		tried bool
	}{
		"smtp":          {SMTP, "EHLO c\r\nAUTH PLAIN AGEAYg==\r\n", true},
		"smtp mail":     {SMTP, "EHLO c\r\nMAIL FROM:<>\r\n", false},
		"lmtp":          {LMTP, "LHLO c\r\nAUTH PLAIN AGEAYg==\r\n", true},
		"imap":          {IMAP, "a LOGIN b c\r\n", true},
		"imap select":   {IMAP, "a SELECT b\r\n", false},
		"pop3":          {POP3, "USER a\r\nPASS b\r\n", true},
		"sieve":         {Sieve, "AUTHENTICATE \"PLAIN\" \"AGEAYg==\"\r\n", true},
		"ldap":          {LDAP, "\x30\x10\x02\x01\x01\x60\x0b\x02\x01\x03\x04\x01a\x80\x03pas", true},
		"ldap, nobody":  {LDAP, ldapHello, false},
		"xmpp":          {XMPP, xmppOpening + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>", true},
		"xmpp presence": {XMPP, xmppOpening + "<presence/>", false},
	} {
		inBubble(t, name, func(t *testing.T) {
			raw, client := memPair()
			tell(t, client, c.said)
			require.NoError(t, client.CloseWrite())
			joined, err := Join(context.Background(), raw, c.proto, &Config{Hostname: testHost})
			require.Error(t, err)
			require.Equal(t, c.tried, joined.TriedLogin())
		})
	}
	greetings := map[*Protocol]string{
		SMTP: "220 b\r\n250-b\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n250 ok\r\n",
		NNTP: "200 b\r\n211 0 0 0 a\r\n",
	}
	for p, words := range map[*Protocol][2]string{
		SMTP: {"EHLO c\r\nMAIL FROM:<>\r\n", "AUTH PLAIN AGEAYg==\r\n"},
		NNTP: {"GROUP a\r\n", "AUTHINFO USER a\r\n"},
		LDAP: {ldapSearch, "\x30\x10\x02\x01\x01\x60\x0b\x02\x01\x03\x04\x01a\x80\x03pas"},
	} {
		inBubble(t, p.Name+" in front of a backend", func(t *testing.T) {
			s := cleartextSession(t, p, words[0])
			go func() { _, _ = io.Copy(io.Discard, onlyReader{s.next}) }()
			tell(t, onlyWriter{s.next}, greetings[p])
			synctest.Wait()
			require.False(t, s.next.(*Joined).TriedLogin())
			tell(t, s.client, words[1])
			synctest.Wait()
			require.True(t, s.next.(*Joined).TriedLogin())
			s.end()
		})
	}
}

// PostgreSQL asks for a password, so that a client has hardly sent it when it is refused.
func TestTriedLoginOfPostgres(t *testing.T) {
	const askForPassword = "R\x00\x00\x00\x08\x00\x00\x00\x03"
	for name, unasked := range map[string]string{"asked": "", "unasked": "p\x00\x00\x00\x07ab\x00"} {
		inBubble(t, name, func(t *testing.T) {
			s := cleartextSession(t, Postgres, "\x00\x00\x00\x14\x00\x03\x00\x00user\x00alice\x00\x00"+unasked)
			go func() { _, _ = io.Copy(io.Discard, onlyReader{s.next}) }()
			synctest.Wait()
			tell(t, onlyWriter{s.next}, askForPassword)
			synctest.Wait()
			require.Equal(t, unasked != "", s.next.(*Joined).TriedLogin())
			s.end()
		})
	}
}

// Nothing in IMAP commits a client to plaintext but a login that is allowed. A filter that meets
// another one all the same finds it out.
func TestTriedLoginOfIMAP(t *testing.T) {
	for says, tried := range map[string]bool{"a NOOP\r\n": false, "a LOGIN {3}\r\n": true, "a AUTHENTICATE PLAIN AGEAYg==\r\n": true} {
		inBubble(t, says, func(t *testing.T) {
			raw, client := memPair()
			j := JoinAs(raw, IMAP, &Config{Hostname: testHost}, dialogue.Situation{Client: dialogue.Greeted, Cleartext: true})
			go func() { _, _ = io.Copy(io.Discard, onlyReader{j}) }()
			tell(t, onlyWriter{j}, "* OK b\r\n")
			tell(t, client, says)
			synctest.Wait()
			require.Equal(t, tried, j.TriedLogin())
			require.NoError(t, client.Close())
		})
	}
}
