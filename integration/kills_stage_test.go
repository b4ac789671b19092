package integration_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A manner is a way to configure the handlers between a client and a backend.
type manner struct {
	name     string
	accepts  []string // in the block of starttls; nil: there is none
	requests []string // in the block of starttls_upstream; nil: there is none
	secure   string   // what the backend does about TLS: nothing, "direct" or "upgrade"
	except   func(p *upgrade.Protocol) bool
}

// manners are all of them.
func manners(a *authority) []manner {
	verified := []string{"tls_server_name " + upstreamName, "tls_trust_pool file " + a.file}
	early := func(p *upgrade.Protocol) bool { return p.EarlyDial }
	asked := func(p *upgrade.Protocol) bool { return p.EarlyDial || p.AnsweredInside } // the backend has to be
	return []manner{
		{name: "required", accepts: []string{"policy required"}},
		{name: "optional", accepts: []string{"policy optional", "allow_plaintext_auth"}, except: func(p *upgrade.Protocol) bool { return p.AlwaysTLS }},
		{name: "implicit", accepts: []string{"policy required", "implicit_tls 100ms"}, except: early},
		{name: "passthrough", accepts: []string{"passthrough"}, secure: "direct", except: asked},
		{name: "both", accepts: []string{"policy required"}, requests: verified, secure: "upgrade", except: early},
		{name: "upstream", requests: verified, secure: "upgrade"},
		{name: "fallback", requests: append([]string{"policy optional"}, verified...), except: early},
	}
}

// A stage is a server in one of the manners, in front of a backend that may stop.
type stage struct {
	manner
	proto     *upgrade.Protocol
	talk      *conversation
	plain     func(net.Conn) error // a backend without TLS
	address   string
	upstreams string // behind `proxy`
	between   string // handlers in front of starttls_upstream and proxy
	backend   *mortalBackend
}

func (s *stage) String() string { return s.proto.Name + " " + s.name }

// newStages makes one for each protocol and manner. One in eight dials is refused.
func newStages(t testing.TB, f *figures, seed uint64) (stages []*stage) {
	t.Helper()
	a := newAuthority(t)
	config := a.server(t, upstreamName)
	for _, p := range upgrade.Protocols() {
		for _, m := range manners(a) {
			if m.except != nil && m.except(p) {
				continue
			}
			s := &stage{manner: m, proto: p, talk: conversationOf(t, p.Name), plain: serverOf(t, p.Name), address: freeAddress(t)}
			s.backend = newMortalBackend(t, s, config, f, seed+uint64(len(stages)))
			s.upstreams = strings.Repeat(s.backend.address()+" ", 7) + refusing(t)
			stages = append(stages, s)
		}
	}
	return stages
}

// refusing returns an address at which every connection is refused, for as long as the test
// takes: the port is taken.
func refusing(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	bound, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
}

// stageServers are all of them as the layer4 option has them.
func stageServers(stages []*stage, times stageTimes) string {
	var all strings.Builder
	for _, s := range stages {
		all.WriteString(s.caddyfile(times))
	}
	return all.String()
}

// stageTimes are the limits of a stage.
type stageTimes struct{ negotiation, handshake time.Duration }

// killTimes are those that are reached by who falls silent.
var killTimes = stageTimes{negotiationTimeout, handshakeTimeout}

// caddyfile is the server as the layer4 option has it.
func (s *stage) caddyfile(times stageTimes) string {
	limits := fmt.Sprintf("negotiation_timeout %s\nhandshake_timeout %s\n", times.negotiation, times.handshake)
	var handlers strings.Builder
	if s.accepts != nil {
		names := "mail.example.com"
		if s.proto.Name == "xmpp" {
			names = "example.org"
		}
		lines := slices.Clone(s.accepts)
		if s.proto.PlaintextByDefault { // which has no logins to allow
			lines = slices.DeleteFunc(lines, func(line string) bool { return line == "allow_plaintext_auth" })
		}
		fmt.Fprintf(&handlers, "starttls %s %s {\n%s%s\n}\n", s.proto.Name, names, limits, strings.Join(lines, "\n"))
	}
	handlers.WriteString(s.between)
	if s.requests != nil {
		fmt.Fprintf(&handlers, "starttls_upstream %s {\n%s%s\n}\n", s.proto.Name, limits, strings.Join(s.requests, "\n"))
	}
	return fmt.Sprintf("%s {\nroute {\n%sproxy %s\n}\n}\n", s.address, handlers.String(), s.upstreams)
}

// upgrades reports whether clients can get to TLS.
func (s *stage) upgrades() bool { return s.accepts != nil }

// serve is the backend's part on one connection, up to the end of its session. The
// application's connection, inside TLS if there is any, is what inside makes of it.
func (s *stage) serve(raw net.Conn, config *tls.Config, inside func(net.Conn) net.Conn) error {
	switch s.secure {
	case "direct":
		return serveInside(s.proto, inside(tls.Server(raw, config)))
	case "upgrade":
		u := &upgrader{proto: s.proto, config: &upgrade.Config{Hostname: "other.example.net", Hostnames: []string{"*.example.com"}, TLS: config}}
		conn, err := u.upgrade(raw)
		if err != nil {
			return err
		}
		return serveInside(s.proto, inside(conn))
	}
	return s.plain(inside(raw))
}

// lastWords are killWords' for one protocol.
type lastWords struct{ held, pending, message, quit string }

// words are those of the stage's protocol. One that is not in killWords says what its
// conversation says inside TLS.
func (s *stage) words() lastWords {
	if words, ok := killWords[s.proto.Name]; ok {
		return words
	}
	use := s.talk.says()
	return lastWords{held: use, pending: use, message: use[:len(use)/2], quit: use[len(use)/2:]}
}

// killWords are what clients say to backends: at once, without waiting for a greeting;
// then something to which an answer is due before they may go on; half of a message; and
// good bye.
var killWords = map[string]lastWords{
	"smtp": {"EHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n", "DATA\r\n", "Subject: x\r\n\r\nhalf of a li", "\r\n.\r\nQUIT\r\n"},
	"lmtp": {"LHLO c.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n", "DATA\r\n", "Subject: x\r\n\r\nhalf of a li", "\r\n.\r\nQUIT\r\n"},
	"imap": {"a NOOP\r\nb CAPABILITY\r\n", "c LOGIN {5}\r\n", "alice secret\r\nd APPEND x {40+}\r\nhalf of a mess", "a NOOP\r\ne LOGOUT\r\n"},
	"pop3": {"CAPA\r\nUSER alice\r\n", "PASS secret\r\n", "RETR 1\r\nTOP 1 2", "\r\nQUIT\r\n"},
	"sieve": {
		"CAPABILITY\r\nNOOP \"a\"\r\n", "AUTHENTICATE \"PLAIN\" {4+}\r\nAAAA\r\n", "PUTSCRIPT \"a\" {20+}\r\nkeep; # and", " so on;;;\r\nLOGOUT\r\n",
	},
	"ldap":     {ldapBind, "\x30\x13\x02\x01\x03\x60\x0e\x02\x01\x03\x04\x05cn=me\x80\x02pw", ldapBind[:9], ldapBind[9:] + "\x30\x05\x02\x01\x04\x42\x00"},
	"postgres": {startup, "p\x00\x00\x00\x1aSCRAM-SHA-256\x00\xff\xff\xff\xff\x00\x00\x00", "p\x00\x00\x00\x08ab", "cdX\x00\x00\x00\x04"},
	"xmpp": {
		xmppHeader, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>", "<presence><sta", "tus/></presence></stream:stream>",
	},
	"mysql": {
		mysqlLogin, "\x07\x00\x00\x04secret\x00", "\x09\x00\x00\x00\x03SELE", "CT 1\x01\x00\x00\x00\x01",
	},
	"line": {"hello\r\nhello\r\n", "more\r\n", "half of a li", "ne\r\nQUIT\r\n"},
}
