package upgrade

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Where the backend is needed early a client may begin with TLS all the same, and has no
// packets then.
func TestEarlyProtocolWithImplicitTLS(t *testing.T) {
	early := *parcelled
	early.EarlyDial = true
	early.Join = func(s dialogue.Situation) dialogue.Filter {
		if s.ImplicitTLS {
			return nil
		}
		return leaver{}
	}
	early.ErrorReply = func(*dialogue.Session, error) []byte { return []byte("words") }
	serverTLS, clientTLS := coreTLS()
	serverTLS.NextProtos, clientTLS.NextProtos = early.ALPN, early.ALPN
	config := &Config{TLS: serverTLS, ImplicitTLS: true, Optional: true}
	inBubble(t, "TLS", func(t *testing.T) {
		raw, rawClient := memPair()
		client := tls.Client(rawClient, clientTLS)
		go func() { _, _ = io.WriteString(client, "PING\n") }()
		j, err := Join(context.Background(), raw, &early, config)
		require.NoError(t, err)
		require.True(t, j.Conn().Outcome().ImplicitTLS)
		backend := hear(j)
		synctest.Wait()
		require.Equal(t, "PING\n", backend.news())
		require.Equal(t, uint16(tls.VersionTLS13), client.ConnectionState().Version)
		require.NoError(t, rawClient.Close())
		synctest.Wait()
	})
	inBubble(t, "plaintext", func(t *testing.T) {
		raw, client := memPair()
		tell(t, client, "PING\n")
		j, err := Join(context.Background(), raw, &early, config)
		require.NoError(t, err)
		require.False(t, j.Conn().Outcome().ImplicitTLS)
		backend := hear(j)
		synctest.Wait()
		require.Equal(t, "PING\n", backend.news())
		require.NoError(t, client.Close())
		synctest.Wait()
	})
	inBubble(t, "silence", func(t *testing.T) {
		raw, client := memPair()
		begun := time.Now()
		_, err := Join(context.Background(), raw, &early, config)
		require.ErrorIs(t, err, ErrTimeout)
		require.Equal(t, "words", client.in.take())
		require.InDelta(t, DefaultNegotiationTimeout, time.Since(begun)-drainTimeout, float64(time.Millisecond))
	})
	inBubble(t, "slowness", func(t *testing.T) {
		raw, client := memPair()
		begun := time.Now()
		time.AfterFunc(40*time.Second, func() { _, _ = io.WriteString(client, "P") })
		j, err := Join(context.Background(), raw, &early, config)
		require.NoError(t, err)
		_, err = io.ReadAll(j)
		require.NoError(t, err)
		require.ErrorIs(t, j.Err(), ErrTimeout)
		require.Equal(t, "words", client.in.take())
		require.Equal(t, DefaultNegotiationTimeout, time.Since(begun), "it is one time for both")
		require.NoError(t, client.Close())
		synctest.Wait()
	})
}

// A granter is a filter that grants the client's request once the backend has answered it.
type granter struct{ asked bool }

func (*granter) Start(*dialogue.Exchange) {}

func (g *granter) FromClient(x *dialogue.Exchange, b []byte) int {
	if g.asked {
		x.Hold()
		return 0
	}
	n := bytes.IndexByte(b, '\n') + 1
	x.ToBackend(b[:n])
	g.asked = n > 0
	return n
}

func (*granter) FromBackend(x *dialogue.Exchange, b []byte) int {
	x.Upgrade(b)
	x.Release()
	return len(b)
}

// What a client says in plaintext before the backend has answered its request is a violation,
// also if it has ended by then.
func TestPlaintextBeforeTheBackendHasAnswered(t *testing.T) {
	early := &Protocol{Name: "early", EarlyDial: true, Join: func(dialogue.Situation) dialogue.Filter { return new(granter) }}
	for name, ends := range map[string]bool{"goes on": false, "ends": true} {
		inBubble(t, name, func(t *testing.T) {
			serverTLS, _ := coreTLS()
			raw, client := memPair()
			j, err := Join(context.Background(), raw, early, &Config{TLS: serverTLS})
			require.NoError(t, err)
			backend := hear(j)
			tell(t, client, "PLEASE\nINJECTED")
			if ends {
				require.NoError(t, client.CloseWrite())
			}
			require.Equal(t, "PLEASE\n", backend.news())
			tell(t, j, "GO\n")
			_, why := backend.total()
			require.ErrorIs(t, why, ErrPipelined)
			require.Empty(t, backend.news())
			require.Empty(t, client.in.take())
			require.NoError(t, client.Close())
			synctest.Wait()
		})
	}
}
