package integration_test

import (
	"errors"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const boundaryLog = "ended connection: plaintext behind the upgrade request"

// What follows an upgrade request in the same segment was there before TLS, so
// nobody may take it for something that came over TLS.
func TestBytesBehindTheRequestEndTheConnection(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	c := serve(t, sites...)
	for _, s := range sites {
		t.Run(s.protocol, func(t *testing.T) {
			talk := s.talk
			p := s.requireEnd(t, c, append(append([]step{}, talk.greet...), step{SendText: talk.request + talk.inject}))
			if talk.goAhead != "" {
				require.False(t, regexp.MustCompile(talk.goAhead).MatchString(testkit.Latin1(p.fresh)), "go-ahead in %q", p.fresh)
			}
			s.requireNothingInjected(t)
		})
	}
}

// The matchers of caddy-l4 read ahead, and Connection.Wrap keeps what they have read.
func TestBytesThatMatchersHavePrefetchedEndTheConnection(t *testing.T) {
	sites := sitePerProtocol(t, func(p *upgrade.Protocol) bool { return p.Match != nil })
	for _, s := range sites {
		s.match = true
	}
	c := serve(t, sites...)
	for _, s := range sites {
		t.Run(s.protocol, func(t *testing.T) {
			s.requireEnd(t, c, []step{{SendText: s.openly() + s.talk.request + s.talk.inject}})
			s.requireNothingInjected(t)
			s.requireUpgraded(t, c.trust(), step{})
		})
	}
}

// What a matcher has prefetched may end in the middle of a read. A request that ends
// just there leaves the attacker's bytes where only a look at the Connection finds them.
func TestPrefetchedBytesBeyondOneReadEndTheConnection(t *testing.T) {
	const oneRead = 4096
	request := "STARTTLS\r\n"
	padding := "NOOP " + strings.Repeat("x", oneRead-len("NOOP \r\n"+request)) + "\r\n"
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	done := handlePassthrough(t, "smtp", near, padding+request+conversationOf(t, "smtp").inject)
	p := newPeer(far, nil)
	require.NoError(t, p.run([]step{{Expect: `^220 `}, {Expect: `^250 `}, {Expect: `^554 `}}))
	require.NoError(t, far.Close())
	require.ErrorIs(t, <-done, errNotReached)
}

// openly is what the client says in plaintext ahead of the request.
func (s *site) openly() (all string) {
	for _, step := range s.talk.greet {
		all += step.SendText
	}
	return all
}

// A client that stays in plaintext after the go-ahead has not upgraded, and hears
// nothing in plaintext any more.
func TestPlaintextAfterTheGoAheadEndsTheConnection(t *testing.T) {
	sites := sitePerProtocol(t, func(p *upgrade.Protocol) bool { return !p.EarlyDial })
	c := serve(t, sites...)
	for _, s := range sites {
		t.Run(s.protocol, func(t *testing.T) {
			talk := s.talk
			p := s.requireEnd(t, c, append(talk.ask(), step{SendText: talk.inject + "and so on and so on"}))
			if len(p.fresh) > 0 {
				require.Equal(t, byte(21), p.fresh[0], "neither an end nor a TLS alert: %q", p.fresh)
			}
			s.requireNothingInjected(t)
		})
	}
}

// requireEnd plays a client that must not get beyond its last step, and finds the
// log line about it.
func (s *site) requireEnd(t *testing.T, c *instance, script []step) *peer {
	t.Helper()
	p, err := s.dial(c.trust())
	require.NoError(t, err)
	client := p.raw.LocalAddr().String()
	err = errors.Join(p.run(script), p.expectClose())
	_ = p.raw.Close() // the server waits a little for it
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for _, entry := range c.logged(boundaryLog) {
			if entry.Remote == client {
				return entry.Protocol == s.protocol && entry.Level == "info" && entry.Logger == "layer4.handlers.starttls"
			}
		}
		return false
	}, patience, 10*time.Millisecond, "no log line for %s", client)
	return p
}

// requireNothingInjected looks at the backend. Only relayed protocols have dialled
// it by then.
func (s *site) requireNothingInjected(t *testing.T) {
	t.Helper()
	require.NoError(t, s.backend.await())
	require.NotContains(t, string(s.backend.received()), s.talk.marker)
	if p, _ := upgrade.Lookup(s.protocol); !p.EarlyDial {
		require.Zero(t, s.backend.dialled(), "backend was dialled")
	}
}
