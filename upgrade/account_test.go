package upgrade

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// What the backend is given and what it says is counted, with the filter in place and when
// it has left.
func TestAccountCountsBothWays(t *testing.T) {
	for name, answer := range map[string]string{"in place": "250-b\r\n250 STARTTLS\r\n", "has left": "250 b\r\n"} {
		inBubble(t, name, func(t *testing.T) {
			c := stayers[0]
			c.answer = answer
			r := c.begin(t)
			tell(t, r.client, "NOOP\r\n")
			require.Equal(t, "NOOP\r\n", r.backendHears())
			tell(t, r.backend, "250 ok\r\n")
			require.Equal(t, "250 ok\r\n", r.clientHears())
			require.EqualValues(t, len(c.ask+"NOOP\r\n"), r.joined.Account().FromClient())
			require.EqualValues(t, len(c.greeting+c.answer+"250 ok\r\n"), r.joined.Account().FromBackend())
			require.Equal(t, ByNobody, r.joined.Account().Ending().By)
			r.end(t)
		})
	}
}

// A session has been ended by whoever did first.
func TestAccountOfTheEnd(t *testing.T) {
	for by, end := range map[Side]func(r *relayed) error{
		ByClient:  func(r *relayed) error { return r.client.CloseWrite() },
		ByBackend: func(r *relayed) error { return r.backend.CloseWrite() },
		ByProxy:   func(r *relayed) error { return r.joined.Close() },
	} {
		inBubble(t, string(by), func(t *testing.T) {
			r := stayers[0].relay(t)
			require.NoError(t, end(r))
			synctest.Wait()
			ending := r.joined.Account().Ending()
			require.Equal(t, by, ending.By)
			require.NoError(t, ending.Err)
			require.Equal(t, time.Now(), ending.At)
			r.end(t)
			require.Equal(t, ending, r.joined.Account().Ending())
		})
	}
	inBubble(t, "silent backend", func(t *testing.T) {
		s := upgradedSession(t, POP3, Config{Hostname: testHost})
		s.handlerReturned(errors.New("down"))
		require.Equal(t, ByBackend, s.next.(*Joined).Account().Ending().By)
		require.EqualError(t, s.next.(*Joined).Account().Ending().Err, "down")
		s.end()
	})
	inBubble(t, "truncated", func(t *testing.T) {
		s := upgradedSession(t, POP3, Config{Hostname: testHost})
		go func() { _, _ = io.Copy(io.Discard, onlyReader{s.next}) }()
		require.NoError(t, s.client.(*Conn).NetConn().Close())
		synctest.Wait()
		require.Equal(t, ByClient, s.next.(*Joined).Account().Ending().By)
		require.ErrorIs(t, s.next.(*Joined).Account().Ending().Err, ErrTruncated)
		s.end()
	})
}

// Whoever cannot see the end is told of it when both directions are over, once.
func TestAccountIsOver(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		r := stayers[0].relay(t)
		calls := 0
		r.joined.Account().WhenOver(func() { calls++ })
		require.NoError(t, r.client.CloseWrite())
		synctest.Wait()
		require.Zero(t, calls, "the backend may go on")
		require.NoError(t, r.backend.CloseWrite())
		synctest.Wait()
		require.Equal(t, 1, calls)
		r.end(t)
		require.Equal(t, 1, calls)
		r.joined.Account().WhenOver(func() { calls++ })
		require.Equal(t, 2, calls, "at once")
	})
}

// The outcome says how long both phases took.
func TestOutcomeHasTheTimes(t *testing.T) {
	inBubble(t, "accept", func(t *testing.T) {
		raw, client := memPair()
		done := make(chan *Joined)
		go func() {
			server, _ := coreTLS()
			joined, _ := Join(context.Background(), raw, POP3, &Config{TLS: server})
			done <- joined
		}()
		require.NoError(t, readUntil(client, "\n"))
		time.Sleep(3 * time.Second)
		tell(t, client, "STLS\r\n")
		time.Sleep(2 * time.Second)
		require.NoError(t, readUntil(client, "\n"))
		require.NoError(t, client.Close())
		outcome := (<-done).Conn().Outcome()
		require.Equal(t, 3*time.Second, outcome.NegotiationTime)
		require.Equal(t, 2*time.Second, outcome.HandshakeTime, "of one that failed")
	})
	inBubble(t, "line", func(t *testing.T) {
		s := relayedSession(t, Config{})
		go func() { _, _ = io.Copy(io.Discard, onlyReader{s.next}) }()
		time.Sleep(3 * time.Second)
		tell(t, s.client, "STARTTLS\n")
		s.startTLS(t)
		synctest.Wait()
		require.Equal(t, 3*time.Second, s.server.Outcome().NegotiationTime)
		s.end()
	})
}

// A session that is shut down ends with close_notify, and the backend sees an end in time.
func TestShutdownEndsWithCloseNotify(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		s := upgradedSession(t, POP3, Config{Hostname: testHost})
		over := make(chan string, 1)
		go func() {
			heard, err := io.ReadAll(onlyReader{s.next})
			require.NoError(t, err)
			over <- string(heard)
		}()
		tell(t, onlyWriter{s.next}, "+OK backend\r\n")
		require.NoError(t, s.next.(*Joined).Shutdown(time.Now().Add(time.Second)))
		heard, err := io.ReadAll(s.client)
		require.NoError(t, err, "not truncated")
		require.Empty(t, heard, "of the backend's greeting")
		tell(t, s.client, "QUIT\r\n")
		begun := time.Now()
		require.Equal(t, "QUIT\r\n", <-over)
		require.Equal(t, time.Second, time.Since(begun))
		require.Equal(t, Ending{By: ByProxy, Err: ErrShutdown, At: begun}, s.next.(*Joined).Account().Ending())
		s.end()
	})
}

// A client that does not read does not keep a shutdown waiting.
func TestShutdownOfAClientThatDoesNotRead(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := c.relay(t)
		flood(r.backend, c.reply, 1<<20)
		begun := time.Now()
		_ = r.joined.Shutdown(begun.Add(time.Second))
		require.LessOrEqual(t, time.Since(begun), 6*time.Second)
		r.end(t)
	})
}

// stopped accepts a client in memory, and ends the negotiation after a while. It returns what the client
// hears by then, and what it hears behind that.
func stopped(t *testing.T, p *Protocol, wait time.Duration) (greeting, words string) {
	raw, client := memPair()
	ctx, end := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	if wait == 0 {
		end(ErrShutdown)
	}
	go func() {
		_, err := Accept(ctx, raw, p, &Config{Hostname: testHost})
		_ = raw.Close()
		ended <- err
	}()
	time.Sleep(wait)
	if wait > 0 {
		greeting = client.in.take()
	}
	end(ErrShutdown)
	heard, err := io.ReadAll(client)
	require.NoError(t, err)
	_ = client.Close()
	require.ErrorIs(t, <-ended, ErrShutdown)
	return greeting, string(heard)
}

// A negotiation that a shutdown ends, or that begins behind it, ends in the protocol's
// words.
func TestShutdownOfANegotiation(t *testing.T) {
	for _, p := range Protocols() {
		_, pattern := fromSession(t, p, "stopping")
		if pattern == "" {
			pattern = "shut"
		}
		inBubble(t, p.Name, func(t *testing.T) {
			greeting, words := stopped(t, p, time.Second)
			require.Regexp(t, pattern, testkit.Latin1(words))
			_, words = stopped(t, p, 0)
			require.Regexp(t, pattern, testkit.Latin1(strings.TrimPrefix(words, greeting)))
		})
	}
}

// A handshake that a shutdown ends is ended without a word in plaintext.
func TestShutdownOfAHandshake(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		raw, client := memPair()
		ctx, end := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			server, _ := coreTLS()
			_, err := Accept(ctx, raw, POP3, &Config{TLS: server})
			_ = raw.Close()
			ended <- err
		}()
		tell(t, client, "STLS\r\n")
		synctest.Wait()
		client.in.take()
		end(ErrShutdown)
		words, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Empty(t, words)
		require.ErrorIs(t, <-ended, ErrShutdown)
	})
}
