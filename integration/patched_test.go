//go:build patched

package integration_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// These are of a Caddy with a patched caddy-l4, which bench/upstream/check.sh makes.

// What a client over TLS is cut off in does not end properly for a backend in plaintext, and
// a reset of the backend's is no end for the client.
func TestPatchedProxyPassesCutsOn(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	ended := make(chan error, 10)
	for _, s := range sites {
		play := s.backend.play
		s.backend.play = func(conn net.Conn) error { return play(endingConn{conn, ended}) }
	}
	c := serve(t, sites...)
	for name, test := range map[string]struct {
		end  func(p *peer) error
		want error
	}{
		"close_notify": {func(p *peer) error { return p.tls.CloseWrite() }, nil},
		"truncated":    {func(p *peer) error { return p.raw.(*net.TCPConn).CloseWrite() }, syscall.ECONNRESET},
		"reset":        {func(p *peer) error { return reset(p.raw.(*net.TCPConn)) }, syscall.ECONNRESET},
	} {
		for _, s := range sites {
			t.Run(s.protocol+" "+name, func(t *testing.T) {
				p := s.requireUpgraded(t, c.trust(), step{})
				require.NoError(t, test.end(p))
				select {
				case err := <-ended:
					require.ErrorIs(t, err, test.want)
				case <-time.After(patience):
					require.FailNow(t, "the backend sees no end")
				}
			})
		}
	}
	for _, s := range sites {
		t.Run(s.protocol+" of the backend", func(t *testing.T) {
			p := s.requireUpgraded(t, c.trust(), step{})
			require.NoError(t, p.raw.SetReadDeadline(time.Now().Add(patience)))
			require.NoError(t, s.backend.reset())
			requireOutcome(t, p.tls, errTruncated)
		})
	}
}

// reset resets the last connection to the backend.
func (b *backend) reset() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return reset(b.dials[len(b.dials)-1].conn.(*net.TCPConn))
}
