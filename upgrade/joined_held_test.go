package upgrade

import (
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// heldSession is one whose client is held until the backend greets.
func heldSession() (j *Joined, client *memConn) {
	raw, client := memPair()
	return JoinAs(raw, SMTP, &Config{Hostname: testHost}, greeted), client
}

// A caller's deadline ends its Read while the client's bytes are held, and releases none.
func TestDeadlineReleasesNothing(t *testing.T) {
	for name, said := range map[string]string{
		"nothing":           "",
		"a command":         "NOOP\r\n",
		"more than is kept": string(make([]byte, 1<<20)),
	} {
		inBubble(t, name, func(t *testing.T) {
			j, client := heldSession()
			tell(t, client, said)
			for range 3 {
				start := time.Now()
				require.NoError(t, j.SetReadDeadline(start.Add(time.Second)))
				n, err := j.Read(make([]byte, 4096))
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.Zero(t, n)
				require.Equal(t, time.Second, time.Since(start))
			}
			require.NoError(t, j.SetDeadline(time.Unix(1, 0)))
			_, err := j.Read(make([]byte, 4096))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, j.Close())
		})
	}
}

// What wakes a Read when the backend has released the client's bytes is no deadline of
// the caller's: that is still in force, if there is one.
func TestDeadlineIsRestoredAfterAWakeUp(t *testing.T) {
	for name, deadline := range map[string]time.Duration{"some": time.Hour, "none": 0} {
		inBubble(t, name, func(t *testing.T) {
			j, client := heldSession()
			start := time.Now()
			if deadline > 0 {
				require.NoError(t, j.SetReadDeadline(start.Add(deadline)))
			}
			backend := hear(j)
			tell(t, client, "NOOP\r\n")
			require.Empty(t, backend.news())
			tell(t, j, "220 backend\r\n")
			require.Equal(t, "NOOP\r\n", backend.news())
			time.Sleep(59 * time.Minute)
			tell(t, client, "RSET\r\n")
			require.Equal(t, "RSET\r\n", backend.news())
			time.Sleep(2 * time.Minute)
			_, err := backend.total()
			if deadline > 0 {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			} else {
				require.NoError(t, err)
				require.NoError(t, j.Close())
				synctest.Wait()
			}
		})
	}
}

// The end of a held client reaches the backend at once if it has said nothing.
func TestEndOfAHeldClient(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		j, client := heldSession()
		backend := hear(j)
		require.NoError(t, client.CloseWrite())
		_, err := backend.total()
		require.Equal(t, io.EOF, err)
		require.NoError(t, j.Err())
	})
}

// What it has said waits for the backend, but not for long.
func TestEndOfAHeldClientThatHasSaidSomething(t *testing.T) {
	inBubble(t, "backend silent", func(t *testing.T) {
		j, client := heldSession()
		backend := hear(j)
		tell(t, client, "NOOP\r\n")
		require.NoError(t, client.CloseWrite())
		time.Sleep(stallLimit - time.Second)
		_, err := backend.total()
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		got, err := backend.total()
		require.Equal(t, io.EOF, err)
		require.Zero(t, got)
		require.ErrorIs(t, j.Err(), ErrTimeout)
	})
	inBubble(t, "backend greets", func(t *testing.T) {
		j, client := heldSession()
		backend := hear(j)
		tell(t, client, "NOOP\r\n")
		require.NoError(t, client.CloseWrite())
		time.Sleep(stallLimit - time.Second)
		tell(t, j, "220 backend\r\n")
		require.Equal(t, "NOOP\r\n", backend.news())
		_, err := backend.total()
		require.Equal(t, io.EOF, err)
		require.NoError(t, j.Err())
	})
}

// A backend that does not greet is not waited for.
func TestBackendThatDoesNotGreet(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		j, client := heldSession()
		backend, heard := hear(j), hear(client)
		tell(t, client, "NOOP\r\n")
		time.Sleep(DefaultNegotiationTimeout + time.Second)
		_, err := backend.total()
		require.Equal(t, io.EOF, err)
		require.Contains(t, heard.news(), "421 4.3.2 ")
	})
}

// Close ends a Read that waits for the backend, not for the client.
func TestCloseEndsAReadThatWaitsForTheBackend(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		j, client := heldSession()
		tell(t, client, string(make([]byte, 1<<20)))
		backend := hear(j)
		synctest.Wait()
		start := time.Now()
		require.NoError(t, j.Close())
		_, err := backend.total()
		require.Error(t, err)
		require.Zero(t, time.Since(start))
	})
}

// A wake-up in the moment in which a Read begins to wait is not lost: both sides say
// something at the same time, again and again.
func TestNoWakeUpIsLost(t *testing.T) {
	for range 200 {
		inBubble(t, "", func(t *testing.T) {
			j, client := heldSession()
			backend := hear(j)
			go func() { _, _ = io.WriteString(client, "NOOP\r\n") }()
			go func() { _, _ = io.WriteString(j, "220 backend\r\n") }()
			require.Equal(t, "NOOP\r\n", backend.news())
			require.NoError(t, client.Close())
			synctest.Wait()
		})
	}
}
