package upgrade

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// asker asks a server for the upgrade with what the client for whom it does says first.
var asker = &Protocol{
	Name: "asker", HearsClient: true,
	Request: func(s *dialogue.Session) error {
		greeting, err := s.ReadLine()
		if err != nil || s.Client() == nil {
			return errors.Join(err, ErrUnsupported)
		}
		if err := s.Client().Reply("from afar: " + greeting); err != nil {
			return dialogue.ClientError{Cause: err}
		}
		first, err := s.Client().Peek(4)
		if err != nil {
			return dialogue.ClientError{Cause: err}
		}
		if err := s.Reply("TLS for " + string(first)); err != nil {
			return err
		}
		line, err := s.ReadLine()
		if err == nil && line != "GO" {
			err = ErrRefused
		}
		return err
	},
	ErrorReply: func(s *dialogue.Session, why error) []byte {
		text := "no"
		if s.Spoken() {
			text = "no longer"
		}
		return []byte(text + ": " + dialogue.UnavailableText(why, "yours") + "\r\n")
	},
}

// An asking is a client, and a server that is asked for the upgrade for it.
type asking struct {
	client, server       *memConn
	rawClient, rawServer *memConn
	conn                 *Conn
	err                  error
	done                 chan struct{}
	clientHears          *hearing
}

func ask(ctx context.Context, config Config) *asking {
	a := &asking{done: make(chan struct{})}
	a.rawClient, a.client = memPair()
	a.rawServer, a.server = memPair()
	_, config.TLS = coreTLS()
	go func() {
		a.conn, a.err = RequestFor(ctx, a.rawServer, a.rawClient, asker, &config)
		if a.err != nil {
			_ = a.rawServer.Close()
			a.conn.RejectClient(a.err)
			_ = a.rawClient.Close()
		}
		close(a.done)
	}()
	a.clientHears = hear(a.client)
	return a
}

func (a *asking) end() {
	_, _, _, _ = a.client.Close(), a.server.Close(), a.rawClient.Close(), a.rawServer.Close()
	synctest.Wait()
}

// The client is greeted before the upgrade, and what it has answered is read again behind
// it, however late.
func TestRequestForAClient(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		a := ask(t.Context(), Config{})
		defer a.end()
		tell(t, a.server, "hello\r\n")
		require.Equal(t, "from afar: hello\r\n", a.clientHears.news())
		time.Sleep(50 * time.Second)
		tell(t, a.client, "client's first words\r\n")
		require.Equal(t, "TLS for clie\r\n", readText(t, a.server, 14))
		tell(t, a.server, "GO\r\n")
		server, _ := coreTLS()
		secure := Server(a.server, &Config{TLS: server})
		require.NoError(t, secure.StartTLS(t.Context()))
		<-a.done
		require.NoError(t, a.err)
		joined := ServeUpgraded(a.rawClient, a.conn)
		time.Sleep(2 * time.Minute) // the time of the negotiation is over
		require.Equal(t, "client's first words\r\n", readText(t, joined, 22))
		tell(t, a.client, "more\r\n")
		require.Equal(t, "more\r\n", readText(t, joined, 6))
	})
}

func readText(t *testing.T, from io.Reader, n int) string {
	t.Helper()
	p := make([]byte, n)
	_, err := io.ReadFull(from, p)
	require.NoError(t, err)
	return string(p)
}

// A client hears why there is no server for it, by whether it has been greeted. What it has
// done itself is not the server's.
func TestRequestForAClientInVain(t *testing.T) {
	for name, c := range map[string]struct {
		play  func(a *asking)
		hears string
		why   error
	}{
		"nobody answers": {func(a *asking) { _ = a.server.Close() }, "no: Upstream not available\r\n", io.EOF},
		"refused":        {func(a *asking) { _, _ = io.WriteString(a.client, "abcd"); _, _ = io.WriteString(a.server, "NO\r\n") }, "no longer: Upstream refused TLS\r\n", ErrRefused},
		"silent client":  {func(*asking) {}, "no longer: yours\r\n", ErrTimeout},
		"gone":           {func(a *asking) { _ = a.client.CloseWrite() }, "", io.EOF},
	} {
		inBubble(t, name, func(t *testing.T) {
			a := ask(t.Context(), Config{NegotiationTimeout: 10 * time.Second})
			defer a.end()
			if name != "nobody answers" {
				tell(t, a.server, "hello\r\n")
				require.Equal(t, "from afar: hello\r\n", a.clientHears.news())
			}
			c.play(a)
			<-a.done
			require.ErrorIs(t, a.err, c.why)
			require.Equal(t, c.hears, a.clientHears.news())
			var client dialogue.ClientError
			require.Equal(t, name == "silent client" || name == "gone", errors.As(a.err, &client))
		})
	}
}

// The end of a context ends the wait for the client.
func TestRequestForAClientIsCancelled(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		a := ask(ctx, Config{})
		defer a.end()
		tell(t, a.server, "hello\r\n")
		synctest.Wait()
		cancel(ErrShutdown)
		<-a.done
		require.ErrorIs(t, a.err, ErrShutdown)
	})
}

// Nobody who waits is heard where the protocol does not hear, and none of its words are lost.
func TestRequestForAClientThatIsNotHeard(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		rawClient, client := memPair()
		rawServer, server := memPair()
		_, config := coreTLS()
		tell(t, client, "PING\n")
		go func() { _, _ = io.ReadFull(server, make([]byte, 9)); _ = server.Close() }()
		_, err := RequestFor(t.Context(), rawServer, rawClient, Line, &Config{TLS: config, Options: map[string]string{"reply": "GO"}})
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, "PING\n", readText(t, rawClient, 5))
		_, _ = client.Close(), rawServer.Close()
	})
}
