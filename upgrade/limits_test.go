package upgrade

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// accepted returns what a client has heard that says something in one go and waits, and
// what has become of the negotiation. It takes as long as that does.
func accepted(p *Protocol, config *Config, says ...string) (heard string, err error) {
	raw, client := memPair()
	ended := make(chan error, 1)
	go func() {
		_, err := Accept(context.Background(), raw, p, config)
		_ = raw.Close()
		ended <- err
	}()
	for _, text := range says {
		_, _ = io.WriteString(client, text)
	}
	err = <-ended
	return withoutStreamID(client.in.take()), err
}

// Each limit can be lowered and raised, and is answered in the protocol's words.
func TestLimitsOfClients(t *testing.T) {
	noops := func(n int) string { return strings.Repeat("NOOP\r\n", n) }
	long := "NOOP " + strings.Repeat("x", 8000) + "\r\n"
	for name, c := range map[string]struct {
		limits Limits
		say    string
		last   string
		why    error
	}{
		"message lowered":   {Limits{Message: 600}, "NOOP " + strings.Repeat("x", 600) + "\r\n", "500 5.5.2 Line too long", ErrLineTooLong},
		"message":           {Limits{}, long, "500 5.5.2 Line too long", ErrLineTooLong},
		"message raised":    {Limits{Message: 10000}, long + "QUIT\r\n", "221 2.0.0 Bye", ErrQuit},
		"message and bytes": {Limits{Message: 100 << 10}, "NOOP " + strings.Repeat("x", 90<<10) + "\r\nQUIT\r\n", "221 2.0.0 Bye", ErrQuit},
		"bytes lowered":     {Limits{Bytes: 100}, noops(17), "421 4.7.0 mail.example.com Too many errors, closing transmission channel", ErrTooMany},
		"bytes, just":       {Limits{Bytes: 102}, noops(16) + "QUIT\r\n", "221 2.0.0 Bye", ErrQuit},
		"commands lowered":  {Limits{Commands: 3}, noops(4), "421 4.7.0 mail.example.com Too many errors, closing transmission channel", ErrTooMany},
		"commands, just":    {Limits{Commands: 3}, noops(2) + "QUIT\r\n", "221 2.0.0 Bye", ErrQuit},
		"commands raised":   {Limits{Commands: 100}, noops(99) + "QUIT\r\n", "221 2.0.0 Bye", ErrQuit},
		"errors lowered":    {Limits{Errors: 1}, "X\r\n", "421 4.7.0 mail.example.com Too many errors, closing transmission channel", ErrTooMany},
		"errors raised":     {Limits{Errors: 9}, strings.Repeat("X\r\n", 8) + "QUIT\r\n", "221 2.0.0 Bye", ErrQuit},
	} {
		inBubble(t, name, func(t *testing.T) {
			heard, err := accepted(SMTP, &Config{Hostname: testHost, Limits: c.limits}, c.say)
			lines := strings.Split(strings.TrimSuffix(heard, "\r\n"), "\r\n")
			require.Equal(t, c.last, lines[len(lines)-1])
			require.ErrorIs(t, err, c.why)
		})
	}
}

// A server is bounded by what it says, in octets: the lines of its replies are no commands.
func TestLimitsOfServers(t *testing.T) {
	const many = "220-mail.example.com\r\n"
	for name, c := range map[string]struct {
		limits Limits
		say    string
		why    error
	}{
		"message": {Limits{Message: 600}, "220 " + strings.Repeat("x", 600), ErrLineTooLong},
		"bytes":   {Limits{Bytes: 1000}, strings.Repeat(many, 50), ErrTooMany},
		"lines":   {Limits{Commands: 1, Errors: 1}, strings.Repeat(many, 1000) + "554 no\r\n", ErrRefused},
		"idle":    {Limits{Idle: 5 * time.Second}, many, ErrTimeout},
	} {
		inBubble(t, name, func(t *testing.T) {
			raw, server := memPair()
			tell(t, server, c.say)
			_, client := coreTLS()
			begun := time.Now()
			_, err := Request(context.Background(), raw, SMTP, &Config{TLS: client, Limits: c.limits})
			require.ErrorIs(t, err, c.why)
			require.Equal(t, c.limits.Idle, time.Since(begun))
		})
	}
}

// A client that says nothing is idle, one that says something now and then is not, but its
// time is over as well.
func TestIdleClients(t *testing.T) {
	config := &Config{Hostname: testHost, Limits: Limits{Idle: 10 * time.Second}}
	const farewell = "421 4.4.2 mail.example.com Timeout, closing transmission channel\r\n"
	for name, c := range map[string]struct{ every, ends time.Duration }{ // its last words wait for it to end
		"silent":             {0, 10 * time.Second},
		"an octet at a time": {9 * time.Second, DefaultNegotiationTimeout},
		"too slow":           {11 * time.Second, 10 * time.Second},
	} {
		inBubble(t, name, func(t *testing.T) {
			raw, client := memPair()
			begun := time.Now()
			stop := make(chan struct{})
			if c.every > 0 {
				go func() {
					for {
						select {
						case <-stop:
							return
						case <-time.After(c.every):
							_, _ = client.Write([]byte("x"))
						}
					}
				}()
			}
			_, err := Accept(context.Background(), raw, SMTP, config)
			close(stop)
			require.ErrorIs(t, err, ErrTimeout)
			heard := client.in.take()
			require.True(t, strings.HasPrefix(heard, "220 ") && strings.HasSuffix(heard, "\r\n"+farewell), heard)
			require.InDelta(t, c.ends, time.Since(begun)-drainTimeout, float64(time.Millisecond))
		})
	}
}

// The end of a context is not undone by the time for the next octet.
func TestIdleLeavesTheContextItsEnd(t *testing.T) {
	inBubble(t, "cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		raw, client := memPair()
		ended := make(chan error, 1)
		go func() {
			_, err := Accept(ctx, raw, SMTP, &Config{Limits: Limits{Idle: time.Second}})
			ended <- err
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		require.ErrorIs(t, <-ended, context.Canceled)
		_ = client.Close()
	})
}

// The wait for a ClientHello in place of the negotiation has its own time.
func TestIdleAndImplicitTLS(t *testing.T) {
	inBubble(t, "greeted", func(t *testing.T) {
		config := &Config{Hostname: testHost, ImplicitTLS: true, Limits: Limits{Idle: 10 * time.Second}}
		begun := time.Now()
		heard, err := accepted(SMTP, config)
		require.ErrorIs(t, err, ErrTimeout)
		require.True(t, strings.HasPrefix(heard, "220 "), heard)
		require.InDelta(t, DefaultImplicitTLSDelay+10*time.Second, time.Since(begun)-drainTimeout, float64(time.Millisecond))
	})
}

// Where the backend is there before the upgrade, the client is bounded until it asks, and
// not afterwards.
func TestLimitsBeforeAnEarlyBackend(t *testing.T) {
	limits := Limits{Idle: 10 * time.Second, Bytes: 100}
	inBubble(t, "idle", func(t *testing.T) {
		s := relayedSession(t, Config{Limits: limits})
		defer s.end()
		backend := hear(s.next)
		for range 4 {
			tell(t, s.client, "PING\n")
			time.Sleep(9 * time.Second)
		}
		require.Equal(t, strings.Repeat("PING\n", 4), backend.news())
		require.NoError(t, s.why())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.ErrorIs(t, s.why(), ErrTimeout)
	})
	inBubble(t, "bytes", func(t *testing.T) {
		s := relayedSession(t, Config{Limits: limits})
		defer s.end()
		backend := hear(s.next)
		tell(t, s.client, strings.Repeat("PING\n", 20))
		require.Len(t, backend.news(), 100)
		require.NoError(t, s.why())
		tell(t, s.client, "P")
		require.Empty(t, backend.news())
		require.ErrorIs(t, s.why(), ErrTooMany)
	})
	inBubble(t, "upgraded", func(t *testing.T) {
		s := relayedSession(t, Config{Limits: limits})
		defer s.end()
		backend := hear(s.next)
		tell(t, s.client, "STARTTLS\n")
		s.startTLS(t)
		tell(t, s.client, strings.Repeat("PING\n", 100))
		time.Sleep(time.Hour)
		require.Len(t, backend.news(), 500)
		require.NoError(t, s.why())
	})
}

// askings counts who asks for an upgrade, and admits some.
type askings struct {
	admitted int
	asked    []net.Addr
}

func (a *askings) admit(client net.Addr) bool {
	a.asked = append(a.asked, client)
	return len(a.asked) <= a.admitted
}

// A client that has had too many upgrades is refused another, and may ask again. Each
// request counts once.
func TestTooManyUpgrades(t *testing.T) {
	for _, p := range protocols {
		if p.EarlyDial {
			continue
		}
		inBubble(t, p.Name, func(t *testing.T) {
			raw, client := memPair()
			asks := new(askings)
			_, clientTLS := coreTLS()
			var requested error
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, requested = Request(context.Background(), client, p, &Config{TLS: clientTLS})
				_ = client.Close()
			}()
			_, err := Accept(context.Background(), raw, p, &Config{Hostname: testHost, AdmitUpgrade: asks.admit})
			_ = raw.Close()
			<-done
			require.ErrorIs(t, err, ErrTooManyUpgrades)
			require.ErrorIs(t, requested, ErrRefused)
			require.Equal(t, []net.Addr{raw.RemoteAddr()}, asks.asked)
		})
	}
	inBubble(t, "again", func(t *testing.T) {
		asks := &askings{}
		heard, err := accepted(SMTP, &Config{Hostname: testHost, AdmitUpgrade: asks.admit}, "STARTTLS\r\n", "STARTTLS\r\n", "STARTTLS\r\n", "QUIT\r\n")
		require.ErrorIs(t, err, ErrTooManyUpgrades)
		require.ErrorIs(t, err, ErrQuit)
		require.Equal(t, 3, strings.Count(heard, "454 4.7.0 "))
		require.Len(t, asks.asked, 3)
	})
}

// One that began with TLS is told nothing, neither by the limit of upgrades nor by that of
// connections.
func TestTooManyWithImplicitTLS(t *testing.T) {
	const hello = "\x16\x03\x01"
	for _, p := range protocols {
		if p.EarlyDial {
			continue
		}
		inBubble(t, p.Name, func(t *testing.T) {
			config := &Config{Hostname: testHost, ImplicitTLS: true, AdmitUpgrade: new(askings).admit}
			heard, err := accepted(p, config, hello)
			require.ErrorIs(t, err, ErrTooManyUpgrades)
			require.Empty(t, heard)
			raw, client := memPair()
			tell(t, client, hello)
			RejectClient(raw, p, config, ErrTooManyConnections)
			require.Empty(t, client.in.take())
		})
	}
}

// Where the backend is there already, the session ends.
func TestTooManyUpgradesBeforeAnEarlyBackend(t *testing.T) {
	inBubble(t, "line", func(t *testing.T) {
		s := relayedSession(t, Config{AdmitUpgrade: new(askings).admit})
		defer s.end()
		client, backend := hear(s.client), hear(s.next)
		tell(t, s.client, "PING\nSTARTTLS\n")
		require.Equal(t, "PING\n", backend.news())
		require.Empty(t, client.news())
		require.ErrorIs(t, s.why(), ErrTooManyUpgrades)
		_, err := backend.total()
		require.ErrorIs(t, err, io.EOF)
		_, err = client.total()
		require.ErrorIs(t, err, io.EOF)
	})
}

// Every protocol that has words has some for a client with too many connections, and waits
// but a moment for one that says nothing.
func TestTooManyConnections(t *testing.T) {
	for _, p := range protocols {
		inBubble(t, p.Name, func(t *testing.T) {
			if p.ErrorReply != nil {
				s := dialogue.NewSession(p, new(dialogue.Options), nil, nil, false)
				require.NotEmpty(t, p.ErrorReply(s, ErrTooManyConnections), "%s has no words for it", p.Name)
			}
			raw, _ := memPair()
			begun := time.Now()
			RejectClient(raw, p, &Config{NegotiationTimeout: time.Hour, ImplicitTLS: true}, ErrTooManyConnections)
			require.LessOrEqual(t, time.Since(begun), 2*drainTimeout)
		})
	}
}
