package upgrade

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// greetedBy are the protocols of which a server greets in plaintext alone.
var greetedBy = map[*Protocol]string{
	SMTP: "220 " + testHost + " ESMTP\r\n", LMTP: "220 " + testHost + " LMTP\r\n",
	IMAP: "* OK " + testHost + " IMAP4rev1 server ready\r\n", POP3: "+OK " + testHost + " POP3 server ready\r\n",
}

// A server that takes both kinds of clients greets those that have had no greeting, and
// Outcome reports which they are.
func TestServerOfBothKindsOfClients(t *testing.T) {
	for way, serve := range serverWays {
		for _, p := range protocols {
			for name, implicit := range map[string]bool{"implicit TLS": true, "upgraded": false} {
				inBubble(t, way+" "+p.Name+" "+name, func(t *testing.T) {
					raw, rawClient := memPair()
					server, client := coreTLS()
					server.NextProtos, client.NextProtos = p.ALPN, p.ALPN
					heard := make(chan string, 1)
					go func() {
						var inside io.Reader = clientOf(rawClient, client)
						if !implicit {
							inside, _ = Request(context.Background(), rawClient, p, &Config{Hostname: "c.example", TLS: client})
						}
						all, _ := io.ReadAll(inside)
						heard <- string(all)
					}()
					conn, err := serve(raw, p, &Config{Hostname: testHost, TLS: server, ImplicitTLS: true})
					require.NoError(t, err)
					require.Equal(t, implicit, conn.Outcome().ImplicitTLS)
					require.NoError(t, conn.Greet())
					require.NoError(t, conn.CloseWrite())
					want := ""
					if implicit {
						want = greetedBy[p]
						if want == "" && p.Greeting != "" { // which is pinned in its folder
							want = strings.ReplaceAll(p.Greeting, "%s", testHost)
						}
					}
					require.Equal(t, want, <-heard)
				})
			}
		}
	}
}

// Greet does nothing for a client that stays in plaintext: it has had its greeting.
func TestGreetInPlaintext(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		s := cleartextSession(t, SMTP, "EHLO c.example\r\nMAIL FROM:<>\r\n")
		defer s.end()
		synctest.Wait()
		s.client.(*memConn).in.take()
		require.NoError(t, s.server.Greet())
		require.Empty(t, s.client.(*memConn).in.take())
	})
}

// Before the negotiation there is no outcome, and asking for it waits for nothing.
func TestOutcomeBeforeTheNegotiation(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		raw, client := memPair()
		conn, err := NewListener(&one{conn: raw}, SMTP, nil).Accept()
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() { done <- conn.(*Conn).Negotiate(context.Background()) }()
		tell(t, client, "EHLO c.example\r\n")
		synctest.Wait()
		require.Zero(t, conn.(*Conn).Outcome())
		require.NoError(t, conn.(*Conn).Err())
		tell(t, client, "QUIT\r\n")
		require.ErrorIs(t, <-done, ErrQuit)
		require.Equal(t, "c.example", conn.(*Conn).Outcome().Hello)
		require.NoError(t, client.Close())
	})
}
