package integration_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// Two clients, as far as the limits are concerned.
const (
	oneClient     = "127.0.0.1"
	anotherClient = "127.0.0.2"
)

// dialFrom connects a client of a certain address.
func (s *site) dialFrom(ip string, trust *tls.Config) (*peer, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	conn, err := dialer.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	config := trust.Clone()
	config.ServerName = s.hostnames()[0]
	return newPeer(conn, config).speaking(s.protocol), conn.SetDeadline(time.Now().Add(2 * patience))
}

// use has a client of a certain address upgrade and reach the backend.
func (s *site) use(ip string, trust *tls.Config) error {
	p, err := s.dialFrom(ip, trust)
	if err != nil {
		return err
	}
	defer func() { _ = p.raw.Close() }()
	return p.run(append(append(s.talk.ask(), step{StartTLS: true}), s.talk.use...))
}

// stalls connects clients that say nothing, and returns when all of them are there.
func (s *site) stalls(t *testing.T, n int, trust *tls.Config) (all []*peer) {
	t.Helper()
	const inFlight = "caddy_layer4_starttls_sessions_in_flight"
	before, _ := sample(t, inFlight, "protocol", s.protocol)
	for range n {
		p, err := s.dialFrom(oneClient, trust)
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.raw.Close() })
		all = append(all, p)
	}
	requireSample(t, before, float64(n), inFlight, "protocol", s.protocol)
	return all
}

// hearsRefusal returns all that a client hears, in answer to its request if the server does
// not speak first.
func (s *site) hearsRefusal(t *testing.T, ip string, trust *tls.Config) string {
	t.Helper()
	p, err := s.dialFrom(ip, trust)
	require.NoError(t, err)
	defer func() { _ = p.raw.Close() }()
	proto, err := upgrade.Lookup(s.protocol)
	require.NoError(t, err)
	if !proto.ServerFirst {
		_, err = io.WriteString(p.raw, s.talk.request)
		require.NoError(t, err, s.protocol)
	}
	heard, _ := io.ReadAll(p.raw) // it may be reset behind the last words
	return string(heard)
}

const negotiations = "caddy_layer4_starttls_negotiations_total"

// A client that has too many negotiations is refused another, in its protocol's words, and
// others are served. It is served as well once it has fewer. No stalled negotiation has a
// backend, but where the backend speaks in plaintext.
func TestNegotiationsPerAddress(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.timeout = 2 * patience
		s.lines = []string{"limits {\n per_address 2\n}"}
	}
	c := serve(t, sites...)
	trust := c.trust()
	for _, s := range sites {
		t.Run(s.protocol, func(t *testing.T) {
			proto, err := upgrade.Lookup(s.protocol)
			require.NoError(t, err)
			limited, _ := sample(t, negotiations, "protocol", s.protocol, "outcome", "limited")
			stalled := s.stalls(t, 2, trust)
			if !proto.EarlyDial {
				require.Zero(t, s.backend.dialled())
			}
			heard := s.hearsRefusal(t, oneClient, trust)
			if proto.ErrorReply == nil {
				require.Empty(t, heard)
			} else {
				require.Regexp(t, s.talk.tooMany, testkit.Latin1(heard))
			}
			requireSample(t, limited, 1, negotiations, "protocol", s.protocol, "outcome", "limited")
			require.NoError(t, s.use(anotherClient, trust))
			require.NoError(t, stalled[0].raw.Close())
			require.Eventually(t, func() bool { return s.use(oneClient, trust) == nil }, patience, 50*time.Millisecond)
		})
	}
	require.NotEmpty(t, c.entries(withMessage("refused a client that has too many connections before TLS")))
}

// A session that is behind its negotiation does not count, whether or not it is over TLS.
func TestSessionsDoNotCount(t *testing.T) {
	s := newSite(t, "smtp")
	s.lines = []string{"policy optional", "limits {\n per_address 1\n}"}
	trust := serve(t, s).trust()
	for i := range 6 {
		p, err := s.dialFrom(oneClient, trust)
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.raw.Close() })
		steps := append(append(s.talk.ask(), step{StartTLS: true}), s.talk.use...)
		if i%2 == 1 {
			steps = append(append([]step{}, s.talk.greet...), s.talk.clear.send...)
			steps = append(steps, step{Expect: s.talk.clear.some})
		}
		require.NoError(t, p.run(steps), i)
	}
}

// A CancelRequest in plaintext counts as long as it has the backend, and as an upgrade.
func TestCancelRequestsCount(t *testing.T) {
	s := newSite(t, "postgres")
	hangs := make(chan struct{})
	s.backend = startBackend(t, func(net.Conn) error {
		<-hangs
		return nil
	})
	s.timeout = 2 * patience
	s.lines = []string{"limits {\n per_address 1\n upgrades 2/1h\n}"}
	trust := serve(t, s).trust()
	ask := func(ip string) net.Conn {
		p, err := s.dialFrom(ip, trust)
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.raw.Close() })
		_, err = io.WriteString(p.raw, cancelRequest)
		require.NoError(t, err)
		return p.raw
	}
	first := ask(oneClient)
	require.Eventually(t, func() bool { return s.backend.dialled() == 1 }, patience, 10*time.Millisecond)
	_, err := io.ReadAll(ask(oneClient)) // has no answer, but an end
	require.NoError(t, err)
	require.Equal(t, 1, s.backend.dialled())
	close(hangs)
	_, err = io.ReadAll(first)
	require.NoError(t, err)
	for range 3 {
		_, _ = io.ReadAll(ask(oneClient)) // one that is not even told may be reset
	}
	dialled := s.backend.dialled()
	require.LessOrEqual(t, dialled, 2)
	_, err = io.ReadAll(ask(anotherClient))
	require.NoError(t, err)
	require.Equal(t, dialled+1, s.backend.dialled())
}

// Clients that are killed, at any time, are counted no more.
func TestKilledClientsAreNotCounted(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.timeout = 2 * patience
		s.lines = []string{"limits {\n per_address 3\n upgrades 1000000/1s\n}"}
	}
	trust := serve(t, sites...).trust()
	for _, s := range sites {
		kill := func(i int) {
			p, err := s.dialFrom(oneClient, trust)
			if err != nil {
				return
			}
			_ = p.raw.SetDeadline(time.Now().Add(time.Duration(rand.IntN(100)) * time.Millisecond))
			steps := append(append(s.talk.ask(), step{StartTLS: true}), s.talk.use...)
			_ = p.run(steps[:i%(len(steps)+1)])
			_ = p.raw.(*net.TCPConn).SetLinger(-i % 2) // closed or reset
			_ = p.raw.Close()
		}
		all := make([]*stall, 60)
		eachOf(all, kill)
		requireSample(t, 0, 0, "caddy_layer4_starttls_sessions_in_flight", "protocol", s.protocol)
		s.stalls(t, 2, trust)
		require.NoError(t, s.use(oneClient, trust), s.protocol)
	}
}

// A client that has had too many upgrades is refused another where the go-ahead would be,
// and others are served.
func TestUpgradesPerAddress(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.lines = []string{"limits {\n upgrades 2/1h\n}"}
	}
	c := serve(t, sites...)
	trust := c.trust()
	for _, s := range sites {
		t.Run(s.protocol, func(t *testing.T) {
			for range 2 {
				require.NoError(t, s.use(oneClient, trust))
			}
			limited, _ := sample(t, negotiations, "protocol", s.protocol, "outcome", "limited")
			p, err := s.dialFrom(oneClient, trust)
			require.NoError(t, err)
			proto, err := upgrade.Lookup(s.protocol)
			require.NoError(t, err)
			_, err = upgrade.Request(context.Background(), p.raw, proto, &upgrade.Config{TLS: p.config})
			_ = p.raw.Close()
			if proto.ErrorReply == nil || s.talk.goAhead == "" {
				require.Error(t, err) // it ends
			} else {
				require.ErrorIs(t, err, upgrade.ErrRefused)
			}
			requireSample(t, limited, 1, negotiations, "protocol", s.protocol, "outcome", "limited")
			require.NoError(t, s.use(anotherClient, trust))
		})
	}
	require.NotEmpty(t, c.entries(withMessage("refused an upgrade to a client that has had too many")))
}

// Who begins with TLS is told nothing by either limit, and who is excepted is not limited.
func TestLimitsOfImplicitTLS(t *testing.T) {
	for name, limit := range map[string]string{"upgrades": "upgrades 1/1h", "per_address": "per_address 1"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "smtp")
			s.timeout = 2 * patience
			s.lines = []string{"implicit_tls", fmt.Sprintf("limits {\n %s\n except %s/32\n}", limit, anotherClient)}
			trust := serve(t, s).trust()
			if name == "per_address" {
				s.stalls(t, 1, trust)
			} else {
				require.NoError(t, s.use(oneClient, trust))
			}
			for range 3 {
				p, err := s.dialFrom(anotherClient, trust)
				require.NoError(t, err)
				require.NoError(t, tls.Client(p.raw, p.config).Handshake())
				_ = p.raw.Close()
			}
			p, err := s.dialFrom(oneClient, trust)
			require.NoError(t, err)
			defer func() { _ = p.raw.Close() }()
			_, err = io.WriteString(p.raw, "\x16\x03\x01")
			require.NoError(t, err)
			heard, err := io.ReadAll(p.raw)
			require.NoError(t, err, "a reset is no word either, but looks like a fault")
			require.Empty(t, heard)
		})
	}
}

// Behind proxy_protocol the client is the one that the header names, and one of IPv6 is as
// many as its network.
func TestLimitsBehindProxyProtocol(t *testing.T) {
	s := newSite(t, "smtp")
	s.timeout = 2 * patience
	s.before = "proxy_protocol {\n allow 127.0.0.0/8\n }"
	s.lines = []string{"limits {\n per_address 1\n}"}
	serve(t, s)
	hear := func(from string) (net.Conn, string) {
		conn, err := net.DialTimeout("tcp", s.address, patience)
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		kind, to := "TCP4", "192.0.2.100"
		if strings.Contains(from, ":") {
			kind, to = "TCP6", "2001:db8::100"
		}
		_, err = fmt.Fprintf(conn, "PROXY %s %s %s 1000 25\r\n", kind, from, to)
		require.NoError(t, err)
		heard := make([]byte, 3)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		_, err = io.ReadFull(conn, heard)
		require.NoError(t, err)
		return conn, string(heard)
	}
	for _, c := range []struct{ from, want string }{
		{"192.0.2.1", "220"}, {"192.0.2.1", "421"}, {"192.0.2.2", "220"},
		{"2001:db8::1", "220"}, {"2001:db8::2", "421"}, {"2001:db8:0:1::1", "220"},
	} {
		_, heard := hear(c.from)
		require.Equal(t, c.want, heard, c.from)
	}
}

// The limits of what is said are those of the configuration.
func TestConfiguredLimits(t *testing.T) {
	s := newSite(t, "smtp")
	s.timeout = 2 * patience
	s.lines = []string{"limits {\n message 600\n bytes 2000\n commands 10\n errors 2\n idle 1s\n}"}
	trust := serve(t, s).trust()
	for name, c := range map[string]struct{ say, hear string }{
		"message":  {"NOOP " + strings.Repeat("x", 600), "500 5.5.2 "},
		"bytes":    {strings.Repeat("NOOP "+strings.Repeat("x", 500)+"\r\n", 4), "421 4.7.0 "},
		"commands": {strings.Repeat("NOOP\r\n", 11), "421 4.7.0 "},
		"errors":   {"X\r\nX\r\n", "421 4.7.0 "},
		"idle":     {"NOOP\r\n", "421 4.4.2 "},
	} {
		p, err := s.dialFrom(oneClient, trust)
		require.NoError(t, err)
		_, err = io.WriteString(p.raw, c.say)
		require.NoError(t, err)
		heard, err := io.ReadAll(p.raw)
		_ = p.raw.Close()
		require.NoError(t, err, name)
		lines := strings.Split(strings.TrimSuffix(string(heard), "\r\n"), "\r\n")
		require.True(t, strings.HasPrefix(lines[len(lines)-1], c.hear), "%s: %q", name, heard)
	}
	require.NoError(t, s.use(oneClient, trust))
}

// An upstream has limits as well.
func TestConfiguredLimitsOfUpstreams(t *testing.T) {
	a := newAuthority(t)
	j := newJoint(t, "smtp", a)
	long := startBackend(t, func(conn net.Conn) error {
		_, err := io.WriteString(conn, strings.Repeat("220-mail.example.com\r\n", 200))
		_, _ = io.ReadAll(conn)
		return err
	})
	j.proxy = long.address()
	j.lines = append(j.lines, "limits {\n bytes 2000\n idle 10s\n}")
	startCaddy(t, jointServers([]*joint{j}))
	heard, err := io.ReadAll(j.ask(t))
	require.NoError(t, err)
	require.Contains(t, string(heard), "Upstream violated the protocol before TLS")
}
