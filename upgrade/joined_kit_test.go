package upgrade

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A stayer is a session in which the filter stays: how it begins, and what its two sides
// can go on to say without an end.
type stayer struct {
	proto                  *Protocol
	cleartext              bool
	greeting, ask, answer  string
	command, reply, refuse string // refuse: a command that the backend does not get
	slow                   string // a reply begins so, and may be as long as one likes
}

var stayers = []stayer{
	{SMTP, false, "220 b\r\n", "EHLO c.example\r\n", "250-b\r\n250 STARTTLS\r\n", "NOOP\r\n", "250 ok\r\n", "STARTTLS\r\n", "250 "},
	{LMTP, false, "220 b\r\n", "LHLO c.example\r\n", "250-b\r\n250 STARTTLS\r\n", "NOOP\r\n", "250 ok\r\n", "STARTTLS\r\n", "250 "},
	{IMAP, false, "* OK b\r\n", "a NOOP\r\n", "a OK ok\r\n", "a NOOP\r\n", "* OK still here\r\n", "a STARTTLS\r\n", "* OK "},
	{POP3, false, "+OK b\r\n", "NOOP\r\n", "+OK ok\r\n", "NOOP\r\n", "+OK ok\r\n", "STLS\r\n", "+OK "},
	{Sieve, false, "OK\r\n", "NOOP\r\n", "OK\r\n", "NOOP\r\n", "OK\r\n", "STARTTLS\r\n", "OK \""},
	{LDAP, false, "", ldapHello, "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", ldapSearch, "\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00", "", ""},
	{Postgres, true, "", postgresHello, "R\x00\x00\x00\x0c\x00\x00\x00\x05salt", "p\x00\x00\x00\x05\x00", "R\x00\x00\x00\x0c\x00\x00\x00\x05salt", "", "N\x00\x01\x00\x00"},
	{XMPP, false, "", xmppOpening, xmppOpening + "<stream:features/>", "<presence/>", " ", "", ""},
	{Line, true, "", "PING\n", "PONG\n", "PING\n", "PONG\n", "", ""},
}

// A relayed is a session with a next handler that copies both ways, as proxies do, over
// connections with little room. Its two ends are the test's.
type relayed struct {
	client, backend *memConn
	raw, near       *memConn
	joined          *Joined
	over            atomic.Bool // the next handler has returned, and all is closed
}

const pairRoom = 64 << 10

// relay begins a session up to its first answer, with the filter in place.
func (c *stayer) relay(t *testing.T) *relayed {
	t.Helper()
	r := c.begin(t)
	require.False(t, r.joined.writeDirect.Load(), "the filter stays")
	return r
}

// begin is relay whatever the filter does.
func (c *stayer) begin(t *testing.T) *relayed {
	t.Helper()
	r := new(relayed)
	r.raw, r.client = tightPair(pairRoom)
	r.near, r.backend = tightPair(pairRoom)
	r.joined = JoinAs(r.raw, c.proto, &Config{Hostname: testHost, NegotiationTimeout: 24 * time.Hour},
		dialogue.Situation{Client: dialogue.Greeted, Cleartext: c.cleartext})
	go r.run()
	tell(t, r.backend, c.greeting)
	tell(t, r.client, c.ask)
	require.Equal(t, c.ask, r.backendHears())
	tell(t, r.backend, c.answer)
	require.NotEmpty(t, r.clientHears())
	return r
}

// run is the next handler, and whoever closes the connections in the end.
func (r *relayed) run() {
	var both sync.WaitGroup
	both.Go(func() { r.copy(r.near, r.joined) })
	r.copy(r.joined, r.near)
	both.Wait()
	r.joined.Returned(nil)
	r.close()
	r.over.Store(true)
}

// copy passes on the end of one direction, and ends both at an error.
func (r *relayed) copy(to, from nextConn) {
	if _, err := io.Copy(onlyWriter{to}, onlyReader{from}); err != nil {
		r.close()
		return
	}
	_ = to.CloseWrite()
}

func (r *relayed) close() { _, _ = r.joined.Close(), r.near.Close() }

type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// end is that of both sides, behind which nothing of the session is left.
func (r *relayed) end(t *testing.T) {
	t.Helper()
	_, _ = r.client.Close(), r.backend.Close()
	synctest.Wait()
	require.True(t, r.over.Load(), "the next handler has returned")
}

// clientHears is what has arrived at the client.
func (r *relayed) clientHears() string {
	synctest.Wait()
	return r.client.in.take()
}

func (r *relayed) backendHears() string {
	synctest.Wait()
	return r.backend.in.take()
}

// requireOverAfter asserts that the session ends behind a time, and not much later.
func (r *relayed) requireOverAfter(t *testing.T, d time.Duration) {
	t.Helper()
	time.Sleep(d - time.Second)
	synctest.Wait()
	require.False(t, r.over.Load(), "too early")
	time.Sleep(patienceStep + 2*time.Second)
	synctest.Wait()
	require.True(t, r.over.Load(), "it goes on")
}

// flood says something over and over, and closes when it cannot go on.
func flood(to *memConn, part string, octets int) {
	part = strings.Repeat(part, 1+4096/len(part))
	go func() {
		for said := 0; said < octets; said += len(part) {
			if _, err := io.WriteString(to, part); err != nil {
				return
			}
		}
	}()
	synctest.Wait()
}

// listen reads all there is, and ends its own side with it.
func listen(from *memConn) {
	go func() {
		_, _ = io.Copy(io.Discard, onlyReader{from})
		_ = from.CloseWrite()
	}()
	synctest.Wait()
}

// greeted is the situation of a client that has been greeted, and a backend that has not
// spoken.
var greeted = dialogue.Situation{Client: dialogue.Greeted}
