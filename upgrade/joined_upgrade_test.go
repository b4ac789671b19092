package upgrade

import (
	"bytes"
	"context"
	"crypto/tls"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// upgrading is a session of the line protocol with a client that has asked for the upgrade,
// and says no more.
func upgrading(t *testing.T, room int) (j *Joined, client *memConn, backend *hearing) {
	t.Helper()
	raw, client := tightPair(room)
	server, _ := coreTLS()
	j, err := Join(context.Background(), raw, Line, &Config{TLS: server})
	require.NoError(t, err)
	backend = hear(j)
	tell(t, client, "STARTTLS\n")
	synctest.Wait()
	return j, client, backend
}

// No deadline of the next handler gives a handshake more time than it has.
func TestHandshakeHasItsOwnTime(t *testing.T) {
	for name, set := range ownDeadlines {
		inBubble(t, name, func(t *testing.T) {
			j, client, backend := upgrading(t, 0)
			require.NoError(t, set(j))
			time.Sleep(DefaultHandshakeTimeout - time.Second)
			_, err := backend.total()
			require.NoError(t, err)
			time.Sleep(2 * time.Second)
			_, err = backend.total()
			require.ErrorIs(t, err, dialogue.ErrHandshake)
			require.NoError(t, client.Close())
		})
	}
}

// So it is with a client that does not read.
func TestHandshakeThatNobodyReads(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		_, client, backend := upgrading(t, 64)
		said := new(helloTaker)
		require.ErrorIs(t, tls.Client(said, &tls.Config{ServerName: testHost, MinVersion: tls.VersionTLS12}).Handshake(), errTaken)
		go func() { _, _ = client.Write(said.hello) }()
		time.Sleep(DefaultHandshakeTimeout + time.Second)
		_, err := backend.total()
		require.ErrorIs(t, err, dialogue.ErrHandshake)
		require.NoError(t, client.Close())
	})
}

// A leaver is a filter that leaves at the client's first line.
type leaver struct{}

func (leaver) Start(*dialogue.Exchange) {}

func (leaver) FromClient(x *dialogue.Exchange, b []byte) int {
	if bytes.IndexByte(b, '\n') >= 0 {
		x.Detach()
	}
	return 0
}

func (leaver) FromBackend(x *dialogue.Exchange, b []byte) int {
	x.ToClient(b)
	return len(b)
}

// Where a filter lets a client stay in plaintext, its time for the upgrade is over.
func TestClientThatIsLetStayHasTime(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		p := &Protocol{Name: "early", EarlyDial: true, Join: func(dialogue.Situation) dialogue.Filter { return leaver{} }}
		raw, client := memPair()
		j, err := Join(context.Background(), raw, p, &Config{Optional: true})
		require.NoError(t, err)
		backend := hear(j)
		tell(t, client, "PING\n")
		require.Equal(t, "PING\n", backend.news())
		time.Sleep(time.Hour)
		tell(t, client, "PING\n")
		require.Equal(t, "PING\n", backend.news())
		require.NoError(t, client.Close())
		synctest.Wait()
	})
}

// When the filter has left, how long a write may wait is the caller's business, whatever
// it has set, before or afterwards.
func TestWritesWaitWithoutFilter(t *testing.T) {
	for name, set := range ownDeadlines {
		inBubble(t, name, func(t *testing.T) {
			leaver := stayers[0]
			leaver.answer = "250 b\r\n"
			r := leaver.begin(t)
			require.True(t, r.joined.writeDirect.Load())
			require.NoError(t, set(r.joined))
			if name == "both" {
				require.NoError(t, r.joined.SetWriteDeadline(time.Time{}))
			}
			flood(r.backend, leaver.reply, floodSize)
			time.Sleep(30 * time.Minute)
			synctest.Wait()
			require.False(t, r.over.Load())
			r.end(t)
		})
	}
}
