package attacks

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// Without a filter each family gets through, with at least one of its rows: what
// cannot get through shows nothing.
func TestEachFamilyGetsThrough(t *testing.T) {
	for protocol := range tables {
		through := map[string]bool{}
		for _, row := range Rows(protocol) {
			through[row.Family] = through[row.Family] || getsThrough(t, protocol, row)
		}
		require.NotEmpty(t, through)
		for family, ok := range through {
			require.True(t, ok, "%s/%s", protocol, family)
		}
	}
}

func getsThrough(t *testing.T, protocol string, row Row) bool {
	for _, mode := range Modes(protocol) {
		for _, quirks := range row.Variants() {
			backend, err := lenient.New(protocol, quirks, mode.Quirks())
			require.NoError(t, err)
			Direct(row.Steps, backend)
			if len(backend.Forbidden()) > 0 {
				return true
			}
		}
	}
	return false
}

// Honest sessions have nothing that is forbidden.
func TestHonestSessions(t *testing.T) {
	for protocol := range tables {
		require.NotEmpty(t, Honest(protocol), protocol)
		for _, row := range Honest(protocol) {
			backend, err := lenient.New(protocol, row.Quirks)
			require.NoError(t, err)
			Direct(row.Steps, backend)
			require.Empty(t, backend.Forbidden(), "%s: %s", protocol, row.Name)
		}
	}
}

func TestRowsOfNothing(t *testing.T) { require.Empty(t, Rows("gopher")) }

// Played without a filter, a session is heard as it is said.
func TestPlay(t *testing.T) {
	for _, cut := range []int{0, 1} {
		backend, err := lenient.New("smtp", lenient.Bare)
		require.NoError(t, err)
		synctest.Test(t, func(t *testing.T) {
			heard, stuck := Play([]string{"NOOP\r\n", "RSET\r\n"}, cut, backend, func(client net.Conn) net.Conn { return client })
			require.Equal(t, "220 backend ESMTP\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n", heard)
			require.False(t, stuck)
		})
	}
}

// deaf is a filter that waits for what never comes.
type deaf struct {
	net.Conn
	woken chan struct{}
}

func (d deaf) Read([]byte) (int, error)        { <-d.woken; return 0, io.EOF }
func (d deaf) SetReadDeadline(time.Time) error { close(d.woken); return nil }

func TestPlayNoticesAnEndlessWait(t *testing.T) {
	backend, err := lenient.New("smtp")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		_, stuck := Play(nil, 0, backend, func(client net.Conn) net.Conn { return deaf{client, make(chan struct{})} })
		require.True(t, stuck)
	})
}
