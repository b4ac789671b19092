package upgrade

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lastWords are what a client may say to a backend that has ended: words that a filter
// would have it wait after, for an answer.
var lastWords = map[*Protocol][]string{
	SMTP:     {"DATA\r\n", "AUTH PLAIN\r\n", "BDAT 9\r\n", "BDAT 9 LAST\r\nhalf", "EHLO c\r\n", "NOOP", "QUIT\r\n"},
	LMTP:     {"DATA\r\n", "AUTH LOGIN\r\n", "BDAT 9\r\n", "LHLO c\r\n", "NOOP"},
	POP3:     {"PASS secret\r\n", "AUTH PLAIN\r\n", "CAPA\r\n", "RETR 1\r\n", "NOOP"},
	IMAP:     {"a AUTHENTICATE PLAIN\r\n", "a LOGIN {3}\r\n", "a APPEND x {9}\r\n", "a IDLE\r\n", "a NOOP", "a LOGIN a b\r\nc LOGIN a b\r\n"},
	Sieve:    {"AUTHENTICATE \"PLAIN\"\r\n", "PUTSCRIPT \"a\" {9+}\r\nhalf", "NOOP {3}\r\n", "NOOP", "STARTTLS\r\n"},
	LDAP:     {ldapHello, ldapHello + ldapHello, ldapSearch, "\x30\x50\x02", ldapHello[:5]},
	Postgres: {"p\x00\x00\x00\x05\x00", "X\x00\x00\x00\x04", "p\x00"},
	XMPP:     {"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>", "<presence", "</stream:stream>"},
	Line:     {"PING\n", "START", "STARTTLS\n"},
}

// A client that says something when its backend has ended, and then ends too, leaves
// nothing of its session: synctest fails a test with a goroutine that is left.
func TestClientOfABackendThatHasEnded(t *testing.T) {
	for i := range stayers {
		c := &stayers[i]
		require.NotEmpty(t, lastWords[c.proto])
		for _, words := range append([]string{""}, lastWords[c.proto]...) {
			for _, before := range []bool{true, false} {
				inBubble(t, c.proto.Name, func(t *testing.T) {
					r := c.relay(t)
					if before {
						tell(t, r.client, words)
						r.backendHears()
						require.NoError(t, r.backend.Close())
						synctest.Wait()
					} else {
						require.NoError(t, r.backend.Close())
						synctest.Wait()
						_, _ = r.client.Write([]byte(words))
					}
					synctest.Wait()
					require.NoError(t, r.client.Close())
					synctest.Wait()
					require.True(t, r.over.Load(), "%q", words)
				})
			}
		}
	}
}

// endedSession is one whose backend has ended, with the filter in place or not.
func endedSession(t *testing.T, c *stayer, inPlace bool) *relayed {
	t.Helper()
	leaver := *c
	if !inPlace {
		leaver.answer = "250 b\r\n"
	}
	r := leaver.begin(t)
	require.Equal(t, inPlace, !r.joined.writeDirect.Load())
	require.NoError(t, r.backend.CloseWrite())
	synctest.Wait()
	return r
}

// A client that stays when its backend has ended has 30 seconds.
func TestClientThatStaysBehindItsBackend(t *testing.T) {
	eachStayer(t, func(t *testing.T, c *stayer) {
		r := endedSession(t, c, true)
		listen(r.backend)
		r.requireOverAfter(t, drainLimit)
	})
	inBubble(t, "smtp, filter has left", func(t *testing.T) {
		r := endedSession(t, &stayers[0], false)
		listen(r.backend)
		r.requireOverAfter(t, drainLimit)
	})
}

// They begin again with whatever it says.
func TestClientThatGoesOnBehindItsBackend(t *testing.T) {
	goesOn := func(t *testing.T, c *stayer, r *relayed) {
		listen(r.backend)
		for range 30 {
			time.Sleep(20 * time.Second)
			tell(t, r.client, c.command)
			synctest.Wait()
			require.False(t, r.over.Load())
		}
		r.requireOverAfter(t, drainLimit)
	}
	eachStayer(t, func(t *testing.T, c *stayer) { goesOn(t, c, endedSession(t, c, true)) })
	inBubble(t, "smtp, filter has left", func(t *testing.T) {
		goesOn(t, &stayers[0], endedSession(t, &stayers[0], false))
	})
}

// A client that has had its last words has a moment to read them, and no more.
func TestReturnedWaitsForNobody(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		raw, client := tightPair(8)
		j := JoinAs(raw, SMTP, &Config{Hostname: testHost}, greeted)
		backend := hear(j)
		synctest.Wait()
		start := time.Now()
		j.Returned(ErrBackend)
		require.LessOrEqual(t, time.Since(start), 2*drainTimeout)
		_, err := backend.total()
		require.Error(t, err)
		require.NoError(t, client.Close())
	})
}

// A backend that goes on when its client has had the last words is let go in the end.
func TestBackendThatGoesOnBehindTheLastWords(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		c := &stayers[0]
		r := c.relay(t)
		tell(t, r.client, "DATA\r\n")
		r.backendHears()
		tell(t, r.backend, "354 go on\r\n")
		tell(t, r.client, "x\n.\n") // not every server's end of a message
		require.Contains(t, r.clientHears(), "550 ")
		start := time.Now()
		for !r.over.Load() && time.Since(start) < time.Hour {
			_, _ = r.backend.Write([]byte("250 ok\r\n"))
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, time.Since(start), drainLimit+5*time.Second)
	})
}

// A client that does not read holds up the end of its session no longer than crypto/tls
// waits for its close_notify.
func TestEndForAClientThatDoesNotRead(t *testing.T) {
	for name, end := range map[string]func(j *Joined) error{"both": (*Joined).Close, "half": (*Joined).CloseWrite} {
		inBubble(t, name, func(t *testing.T) {
			raw, rawClient := tightPair(pairRoom)
			server, client := coreTLS()
			go func() {
				if second(Request(context.Background(), rawClient, SMTP, &Config{Hostname: "c.example", TLS: client})) != nil {
					t.Error("no upgrade")
				}
			}()
			j, err := Join(context.Background(), raw, SMTP, &Config{TLS: server})
			require.NoError(t, err)
			tell(t, j, "220 b\r\n") // or there would be words to say
			synctest.Wait()
			tell(t, raw, strings.Repeat("x", pairRoom-raw.out.unread())) // there is room for nothing more
			start := time.Now()
			require.ErrorIs(t, end(j), os.ErrDeadlineExceeded)
			require.LessOrEqual(t, time.Since(start), 5*time.Second)
			require.NoError(t, rawClient.Close())
		})
	}
}
