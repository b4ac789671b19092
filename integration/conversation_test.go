package integration_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A conversation is what a well-behaved client of a protocol says and hears, and
// what an attacker puts behind its upgrade request.
type conversation struct {
	greet   []step // up to the request
	request string
	goAhead string // pattern of the answer; none: the ClientHello follows at once
	use     []step // what a client does inside TLS, to see that the backend is there
	inject  string
	marker  string // in inject, for the backend's eyes
}

const (
	xmppHeader   = "<stream:stream to='example.org' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	ldapStartTLS = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	ldapBind     = "\x30\x13\x02\x01\x02\x60\x0e\x02\x01\x03\x04\x05cn=me\x80\x02pw"
	sslRequest   = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	startup      = "\x00\x00\x00\x14\x00\x03\x00\x00user\x00alice\x00\x00"
)

var conversations = map[string]*conversation{
	"smtp": {
		greet: []step{
			{Expect: `^220 `}, {SendText: "EHLO client.example\r\n"}, {Expect: `250[ -]STARTTLS\r\n`},
		},
		request: "STARTTLS\r\n", goAhead: `^220 .*\r\n$`,
		use:    []step{{TLSSendText: "EHLO inside.example\r\n"}, {Expect: `(?s)^250-backend\.example.*250 8BITMIME\r\n$`}},
		inject: "MAIL FROM:<injected@evil.example>\r\n", marker: "injected",
	},
	"lmtp": {
		greet: []step{
			{Expect: `^220 `}, {SendText: "LHLO client.example\r\n"}, {Expect: `250[ -]STARTTLS\r\n`},
		},
		request: "STARTTLS\r\n", goAhead: `^220 .*\r\n$`,
		use:    []step{{TLSSendText: "LHLO inside.example\r\n"}, {Expect: `(?s)^250-backend\.example.*250 8BITMIME\r\n$`}},
		inject: "MAIL FROM:<injected@evil.example>\r\n", marker: "injected",
	},
	"imap": {
		greet:   []step{{Expect: `^\* OK `}},
		request: "a STARTTLS\r\n", goAhead: `^a OK .*\r\n$`,
		use:    []step{{TLSSendText: "b NOOP\r\n"}, {Expect: `^b OK done\r\n$`}},
		inject: "injected NOOP\r\n", marker: "injected",
	},
	"pop3": {
		greet:   []step{{Expect: `^\+OK `}},
		request: "STLS\r\n", goAhead: `^\+OK .*\r\n$`,
		use:    []step{{TLSSendText: "USER alice\r\n"}, {Expect: `^\+OK done\r\n$`}},
		inject: "USER injected\r\n", marker: "injected",
	},
	"sieve": {
		greet:   []step{{Expect: `(?s)"STARTTLS"\r\n.*OK.*\r\n$`}},
		request: "STARTTLS\r\n", goAhead: `^OK.*\r\n$`,
		use: []step{
			{Expect: `(?s)^"IMPLEMENTATION" "backend".*\r\nOK.*\r\n$`}, {TLSSendText: "NOOP \"x\"\r\n"}, {Expect: `^OK \(TAG "x"\)`},
		},
		inject: "NOOP \"injected\"\r\n", marker: "injected",
	},
	"ldap": {
		request: ldapStartTLS, goAhead: `(?s)^\x30.\x02\x01\x01\x78.\x0a\x01\x00.*$`,
		use:    []step{{TLSSendText: ldapBind}, {Expect: `(?s)^\x30.\x02\x01\x02\x61.\x0a\x01\x00`}},
		inject: ldapBind, marker: "cn=me",
	},
	"postgres": {
		request: sslRequest, goAhead: `^S$`,
		use:    []step{{TLSSendText: startup}, {Expect: `(?s)^R.*SCRAM-SHA-256\x00\x00$`}},
		inject: startup, marker: "alice",
	},
	"xmpp": {
		greet:   []step{{SendText: xmppHeader}, {Expect: `(?s)^<.*<starttls .*</stream:features>$`}},
		request: "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", goAhead: `^<proceed [^>]*>$`,
		use:    []step{{TLSSendText: xmppHeader}, {Expect: `(?s)^<.*PLAIN.*</stream:features>$`}},
		inject: "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>injected</auth>", marker: "injected",
	},
	"line": {
		greet:   []step{{Expect: `^READY\r\n$`}},
		request: "STARTTLS\r\n",
		use:     []step{{TLSSendText: "hello\r\n"}, {Expect: `^GOT hello\r\n$`}},
		inject:  "INJECTED\r\n", marker: "INJECTED",
	},
}

// Every protocol in the table has a conversation, so that nothing here leaves out a
// new one in silence.
func TestEveryProtocolHasAConversation(t *testing.T) {
	for _, p := range upgrade.Protocols() {
		require.Contains(t, conversations, p.Name)
		require.Contains(t, servers, p.Name)
	}
}

func (s *site) conversation() *conversation { return conversations[s.protocol] }

// ask says all of it up to and including the request, and hears the go-ahead.
func (c *conversation) ask() []step {
	steps := append([]step{}, c.greet...)
	steps = append(steps, step{SendText: c.request})
	if c.goAhead != "" {
		steps = append(steps, step{Expect: c.goAhead})
	}
	return steps
}

// upgraded connects a client to the site, upgrades as a step says, and uses the
// session.
func (s *site) upgraded(trust *tls.Config, handshake step) (*peer, error) {
	p, err := s.dial(trust)
	if err != nil {
		return nil, err
	}
	handshake.StartTLS = true
	steps := append(s.conversation().ask(), handshake)
	if err := p.run(append(steps, s.conversation().use...)); err != nil {
		_ = p.raw.Close()
		return nil, err
	}
	return p, nil
}

// requireUpgraded is upgraded for tests that depend on it.
func (s *site) requireUpgraded(t *testing.T, trust *tls.Config, handshake step) *peer {
	t.Helper()
	p, err := s.upgraded(trust, handshake)
	require.NoError(t, err, s.protocol)
	t.Cleanup(func() { _ = p.raw.Close() })
	return p
}
