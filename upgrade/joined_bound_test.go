package upgrade

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	floodSize = 8 << 20
	mostKept  = 1 << 20 // of a session, with the room that the connections have
)

// requireBounded asserts how much of what one end has said is still on its way.
func requireBounded(t *testing.T, from, to *memConn) {
	t.Helper()
	synctest.Wait()
	delivered := to.in.all() - to.in.unread()
	require.LessOrEqual(t, from.out.all()-delivered, mostKept)
}

// eachStayer runs a test for each protocol whose filter can stay.
func eachStayer(t *testing.T, test func(t *testing.T, c *stayer)) {
	t.Helper()
	for i := range stayers {
		inBubble(t, stayers[i].proto.Name, func(t *testing.T) { test(t, &stayers[i]) })
	}
}

// A client that asks without an end, of a backend that does not answer, waits where the
// filter must remember its questions. Where it has nothing to remember, all passes.
func TestQuestionsWithoutAnswers(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := c.relay(t)
		listen(r.backend)
		flood(r.client, c.command, floodSize)
		requireBounded(t, r.client, r.backend)
		if c.slow == "" {
			require.GreaterOrEqual(t, r.client.out.all(), floodSize)
			time.Sleep(10 * time.Minute) // nobody waits for anything
			synctest.Wait()
			require.False(t, r.over.Load())
			r.end(t)
			return
		}
		require.Less(t, r.client.out.all(), mostKept)
		r.requireOverAfter(t, stallLimit)
		require.ErrorIs(t, r.joined.Err(), ErrTimeout)
	})
}

// A backend that answers now and then, if only by an octet, keeps such a session alive.
func TestSlowAnswersAreProgress(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := c.relay(t)
		defer r.end(t)
		if c.slow == "" {
			return
		}
		listen(r.backend)
		flood(r.client, c.command, floodSize)
		tell(t, r.backend, c.slow)
		for range 30 {
			time.Sleep(20 * time.Second)
			tell(t, r.backend, "x")
			synctest.Wait()
			require.False(t, r.over.Load())
		}
		r.requireOverAfter(t, stallLimit)
	})
}

// A caller's deadlines that are shorter than a standstill do not prolong it.
func TestStandstillUnderShortDeadlines(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		raw, client := tightPair(pairRoom)
		j := JoinAs(raw, SMTP, nil, greeted)
		flood(client, "NOOP\r\n", floodSize)
		start := time.Now()
		var err error
		for !errors.Is(err, io.EOF) && time.Since(start) < time.Hour {
			require.NoError(t, j.SetReadDeadline(time.Now().Add(time.Second)))
			_, err = j.Read(make([]byte, 4096))
		}
		require.ErrorIs(t, j.Err(), ErrTimeout)
		require.LessOrEqual(t, time.Since(start), stallLimit+2*time.Second)
		require.NoError(t, client.Close())
	})
}

// A client that is refused what it asks for, and does not read that.
func TestRefusalsThatNobodyReads(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := c.relay(t)
		if c.refuse == "" {
			r.end(t)
			return
		}
		listen(r.backend)
		flood(r.client, c.refuse, floodSize)
		require.LessOrEqual(t, r.client.out.all(), mostKept)
		r.requireOverAfter(t, stallLimit)
	})
}

// A backend that does not read has the client wait, as without us.
func TestBackendThatDoesNotRead(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := c.relay(t)
		flood(r.client, c.command, floodSize)
		requireBounded(t, r.client, r.backend)
		r.end(t)
	})
}

// A client that does not read what its backend says without an end.
func TestAnswersThatNobodyReads(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := c.relay(t)
		flood(r.backend, c.reply, floodSize)
		requireBounded(t, r.backend, r.client)
		require.Less(t, r.backend.out.all(), floodSize)
		r.requireOverAfter(t, stallLimit)
	})
}

// One that reads slowly, or says something meanwhile, is never cut.
func TestSlowReaderIsProgress(t *testing.T) {
	for name, progress := range map[string]func(t *testing.T, c *stayer, r *relayed){
		"reads": func(t *testing.T, _ *stayer, r *relayed) {
			_, err := io.ReadFull(r.client, make([]byte, 1))
			require.NoError(t, err)
		},
		"says something": func(t *testing.T, c *stayer, r *relayed) { tell(t, r.client, c.command) },
	} {
		t.Run(name, func(t *testing.T) {
			eachStayer(t, func(t *testing.T, c *stayer) {
				r := c.relay(t)
				flood(r.backend, c.reply, floodSize)
				for range 30 {
					time.Sleep(20 * time.Second)
					progress(t, c, r)
					synctest.Wait()
					require.False(t, r.over.Load())
				}
				requireBounded(t, r.backend, r.client)
				r.requireOverAfter(t, stallLimit)
			})
		})
	}
}
