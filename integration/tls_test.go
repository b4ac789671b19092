package integration_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	l4starttls "github.com/l4starttls/caddy-l4-starttls"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A browser that is sent here by an attacker names its own protocols and is refused
// (ALPACA); software that names none is served.
func TestALPNIsTheProtocolsOwn(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	trust := serve(t, sites...).trust()
	const noApplicationProtocol = 120
	for _, s := range sites {
		t.Run(s.protocol, func(t *testing.T) {
			proto, err := upgrade.Lookup(s.protocol)
			require.NoError(t, err)
			s.requireUpgraded(t, trust, step{})
			for _, id := range proto.ALPN {
				s.requireUpgraded(t, trust, step{ALPN: []string{id}, ExpectALPN: id})
				s.requireUpgraded(t, trust, step{ALPN: []string{"h2", id}, ExpectALPN: id})
			}
			if len(proto.ALPN) == 0 {
				return // whatever it is that the application speaks
			}
			for _, foreign := range []string{"http/1.1", "h2", "acme-tls/1"} {
				if slices.Contains(proto.ALPN, foreign) {
					continue
				}
				before := s.backend.dialled()
				s.requireRefused(t, trust, step{ALPN: []string{foreign}, ExpectAlert: noApplicationProtocol})
				if !proto.EarlyDial {
					require.Equal(t, before, s.backend.dialled(), "backend was dialled for %s", foreign)
				}
			}
		})
	}
}

// requireRefused asks for the upgrade, and for a handshake that must fail.
func (s *site) requireRefused(t *testing.T, trust *tls.Config, handshake step) {
	t.Helper()
	p, err := s.dial(trust)
	require.NoError(t, err)
	defer func() { _ = p.raw.Close() }()
	handshake.StartTLS, handshake.ExpectFail = true, true
	require.NoError(t, p.run(append(s.talk.ask(), handshake, step{ExpectClose: true})))
}

// The keys of session tickets live and die with a tls.Config, so resumption shows
// that all connections share one.
func TestSessionsResumeByDefault(t *testing.T) {
	line, seen := newProbe(t)
	sites := sitePerProtocol(t, func(p *upgrade.Protocol) bool { return !p.EarlyDial })
	for _, s := range sites {
		s.after = line
	}
	trust := serve(t, sites...).trust()
	for _, s := range sites {
		for _, version := range []string{"1.2", "1.3"} {
			t.Run(s.protocol+" TLS "+version, func(t *testing.T) {
				config := trust.Clone()
				config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				for _, resumed := range []bool{false, true, true} {
					p := s.requireUpgraded(t, config, step{MaxVersion: version})
					require.Equal(t, resumed, p.tls.ConnectionState().DidResume)
					require.Equal(t, fmt.Sprint(resumed), await(t, seen).placeholders["l4.tls.resumed"])
				}
			})
		}
	}
}

func TestClientCertificatesAreVerified(t *testing.T) {
	ca := newCertificate(t, "Test CA", nil)
	alice := newCertificate(t, "alice", ca)
	mallory := newCertificate(t, "mallory", newCertificate(t, "Other CA", nil))
	for _, protocol := range []string{"imap", "postgres"} {
		if _, err := upgrade.Lookup(protocol); err != nil {
			continue
		}
		t.Run(protocol, func(t *testing.T) {
			line, seen := newProbe(t)
			s := newSite(t, protocol)
			s.after = line
			s.lines = []string{"connection_policy {\n client_auth {\n mode require_and_verify\n trust_pool inline {\n trust_der " +
				base64.StdEncoding.EncodeToString(ca.Certificate[0]) + "\n }\n }\n }"}
			trust := serve(t, s).trust()
			require.NoError(t, s.requireUpgraded(t, withCertificate(trust, alice), step{}).raw.Close())
			placeholders := await(t, seen).placeholders
			require.Equal(t, "CN=alice", placeholders["l4.tls.client.subject"])
			require.Equal(t, "CN=Test CA", placeholders["l4.tls.client.issuer"])
			require.Equal(t, "alice.example.com", placeholders["l4.tls.client.san.dns_names.0"])
			for _, other := range []*tls.Certificate{nil, mallory} {
				_, err := s.upgraded(withCertificate(trust, other), step{})
				require.Error(t, err)
			}
			require.Equal(t, 1, s.backend.dialled(), "backend was dialled for a stranger")
		})
	}
}

func withCertificate(config *tls.Config, certificate *tls.Certificate) *tls.Config {
	config = config.Clone()
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	return config
}

// newCertificate makes one that is signed by another, or a CA of its own.
func newCertificate(t testing.TB, name string, by *tls.Certificate) *tls.Certificate {
	t.Helper()
	template := testkit.AuthorityTemplate(name)
	if by != nil {
		template = testkit.Template(name)
		template.DNSNames = []string{name + ".example.com"}
	}
	return testkit.Issue(t, template, testkit.NewKey(t), by)
}

func TestCertificatesFollowSNI(t *testing.T) {
	s := newSite(t, "smtp")
	s.names = []string{"mail.example.com", "mx.example.com", "*.wild.example.com"}
	trust := serve(t, s).trust()
	for sni, want := range map[string]string{
		"mail.example.com": "mail.example.com", "mx.example.com": "mx.example.com", "a.wild.example.com": "*.wild.example.com",
	} {
		p := s.requireUpgraded(t, trust, step{SNI: sni})
		require.Equal(t, []string{want}, p.tls.ConnectionState().PeerCertificates[0].DNSNames)
	}
	for _, sni := range []string{"elsewhere.example.com", "wild.example.com"} {
		p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: sni})
		require.Equal(t, []string{"mail.example.com"}, p.tls.ConnectionState().PeerCertificates[0].DNSNames, sni)
	}
}

// Those who connect by address, and many mail servers, send no SNI.
func TestFirstHostnameServesClientsWithoutSNI(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.names = []string{s.protocol + ".example.net", "second.example.net"}
	}
	serve(t, sites...)
	for _, s := range sites {
		p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{})
		require.Equal(t, s.names[:1], p.tls.ConnectionState().PeerCertificates[0].DNSNames, s.protocol)
	}
}

func TestNextHandlerSeesWhatWasTerminated(t *testing.T) {
	line, seen := newProbe(t)
	sites := sitePerProtocol(t, func(p *upgrade.Protocol) bool { return !p.EarlyDial })
	for _, s := range sites {
		s.after = line
	}
	trust := serve(t, sites...).trust()
	for _, s := range sites {
		proto, _ := upgrade.Lookup(s.protocol)
		handshake, id := step{}, "none"
		if len(proto.ALPN) > 0 {
			id = proto.ALPN[0]
			handshake = step{ALPN: []string{id}, ExpectALPN: id}
		}
		s.requireUpgraded(t, trust, handshake)
		saw := await(t, seen)
		require.Equal(t, s.protocol, saw.placeholders["l4.starttls.protocol"])
		require.Equal(t, s.hostnames()[0], saw.placeholders["l4.starttls.server_name"])
		require.Equal(t, s.hostnames()[0], saw.placeholders["l4.tls.server_name"])
		require.Equal(t, id, saw.placeholders["l4.tls.proto"])
		require.Equal(t, "tls1.3", saw.placeholders["l4.tls.version"])
		require.Contains(t, saw.placeholders["l4.tls.cipher_suite"], "TLS_")
		require.Equal(t, "none", saw.placeholders["l4.tls.client.subject"])
		require.Len(t, saw.hellos, 1)
		require.Equal(t, s.hostnames()[0], saw.hellos[0].ServerName)
		require.Equal(t, 1, saw.states)
		if s.protocol == "smtp" {
			require.Equal(t, "client.example", saw.placeholders["l4.starttls.hello"])
		}
	}
}

// From accept to the hand-over there is only the goroutine that caddy-l4 has made
// for the connection.
func TestNegotiationNeedsNoGoroutine(t *testing.T) {
	line, seen := newProbe(t)
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.after = line
	}
	trust := serve(t, sites...).trust()
	gone := func() bool { return stacks().ours() == 0 }
	require.Eventually(t, gone, patience, 10*time.Millisecond, "sessions of other tests")
	for _, s := range sites {
		p := s.requireUpgraded(t, trust, step{})
		require.Equal(t, 1, await(t, seen).ours(), s.protocol)
		require.NoError(t, p.raw.Close())
		require.NoError(t, s.backend.await())
		require.Eventually(t, gone, patience, 10*time.Millisecond, s.protocol)
	}
}

// countingConn counts what would be segments.
type countingConn struct {
	net.Conn
	writes atomic.Int32
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// An answer in two segments is taken for two by clients that do not wait for the
// end of the line.
func TestEveryAnswerLeavesInOneWrite(t *testing.T) {
	for _, proto := range upgrade.Protocols() {
		if proto.EarlyDial {
			continue // it has no answers of its own
		}
		t.Run(proto.Name, func(t *testing.T) {
			near, far := net.Pipe()
			t.Cleanup(func() { _, _ = near.Close(), far.Close() })
			counted := &countingConn{Conn: near}
			done := handlePassthrough(t, proto.Name, counted, "")
			p := newPeer(far, nil)
			answers, talk := int32(0), conversationOf(t, proto.Name)
			for _, s := range talk.ask() {
				require.NoError(t, p.play(s))
				if s.Expect != "" {
					answers++
					if s.Expect == talk.goAhead {
						answers += int32(talk.answers) - 1
					}
					require.Equal(t, answers, counted.writes.Load(), "answer to match %q", s.Expect)
				}
			}
			require.NoError(t, p.play(step{SendText: "\x16"})) // TLS begins
			require.NoError(t, <-done)
		})
	}
}

// errNotReached is that a handler has ended a connection.
var errNotReached = errors.New("next handler was not called")

// handlePassthrough runs a handler on a connection of which some has been prefetched,
// up to the go-ahead.
func handlePassthrough(t *testing.T, protocol string, conn net.Conn, prefetched string) (done chan error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	handler := &l4starttls.Handler{Protocol: protocol, Hostnames: []string{"mail.example.com"}, Passthrough: true}
	if protocol == "xmpp" {
		handler.Hostnames = []string{"example.org"}
	}
	require.NoError(t, handler.Provision(ctx))
	done = make(chan error, 1)
	cx := layer4.WrapConnection(conn, []byte(prefetched), zap.NewNop())
	go func() {
		outcome := errNotReached
		err := handler.Handle(cx, layer4.HandlerFunc(func(*layer4.Connection) error {
			outcome = nil
			return nil
		}))
		done <- errors.Join(err, outcome)
	}()
	return done
}

// Names in other scripts, in upper case and with a dot at their end are those that
// certificates have, in greetings and answers, too.
func TestHostnamesAreALabels(t *testing.T) {
	smtp, xmpp := newSite(t, "smtp"), newSite(t, "xmpp")
	smtp.names = []string{"MAIL.Bücher.Example."}
	xmpp.names = []string{"first.example.net", "*.Bühne.example"}
	c := startCaddy(t, smtp.String()+xmpp.String())
	const ascii = "mail.xn--bcher-kva.example"
	c.awaitCertificates(ascii, "*.xn--bhne-0ra.example")
	p, err := smtp.dial(&tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	require.NoError(t, p.run([]step{
		{Expect: `^220 ` + ascii + ` `}, {SendText: "EHLO c\r\n"}, {Expect: `^250-` + ascii + `\r\n`},
		{SendText: "STARTTLS\r\n"}, {Expect: `^220 `}, {StartTLS: true},
	}))
	require.Equal(t, []string{ascii}, p.tls.ConnectionState().PeerCertificates[0].DNSNames)

	// What a client asks for in plaintext is compared in the same way.
	p, err = xmpp.dial(&tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	header := strings.Replace(xmppHeader, "example.org", "CHAT.Bühne.example", 1)
	require.NoError(t, p.run([]step{{SendText: header}, {Expect: `(?s)</stream:features>$`},
		{SendText: "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"}, {Expect: `^<proceed`}, {StartTLS: true}}))
	require.Equal(t, []string{"*.xn--bhne-0ra.example"}, p.tls.ConnectionState().PeerCertificates[0].DNSNames)
}
