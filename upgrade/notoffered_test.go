package upgrade

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// lacksTLS is an SMTP server that answers its clients up to QUIT, or to where it is to
// stall.
func lacksTLS(raw net.Conn, stallsAt string) {
	answers := map[string]string{
		"EHLO client.example": "250 old.example\r\n", "EHLO inside.example": "250 old.example\r\n",
		"RSET": "250 2.0.0 Ok\r\n", "QUIT": "221 2.0.0 Bye\r\n",
	}
	_, _ = io.WriteString(raw, "220 old.example ESMTP\r\n")
	for lines := bufio.NewScanner(raw); lines.Scan(); {
		answer, ok := answers[lines.Text()]
		switch {
		case lines.Text() == stallsAt:
			continue
		case !ok:
			answer = "500 " + lines.Text() + "\r\n"
		}
		_, _ = io.WriteString(raw, answer)
	}
}

// Whoever dials means TLS, also with a configuration in which a server lets its clients stay
// in plaintext.
func TestDialDemandsTLS(t *testing.T) {
	_, err := dialTo(t.Context(), t, Config{Hostname: "client.example", Optional: true}, func(raw net.Conn) { lacksTLS(raw, "") })
	require.ErrorIs(t, err, ErrNotOffered)
}

// A server that does not offer the upgrade is one in plaintext if that is allowed, for as
// long as it takes, and a client begins its session with it.
func TestRequestGoesOnInPlaintext(t *testing.T) {
	config := upstreamConfig()
	config.Optional, config.NegotiationTimeout = true, time.Second
	near, far := testkit.TCPPair(t)
	go lacksTLS(far, "")
	up, err := Request(t.Context(), near, SMTP, config)
	require.NoError(t, err)
	require.True(t, up.Outcome().Cleartext)
	_, secure := up.TLSConnectionState()
	require.False(t, secure)
	client := newScriptedClient(0)
	defer client.say(nil, true)
	joined := ServeUpgraded(client, up)
	go func() { _, _ = io.Copy(joined, up) }()
	go func() { _, _ = io.Copy(up, joined) }()
	got := ""
	for _, line := range []struct{ says, hears string }{
		{"", "220 old.example ESMTP\r\n"},
		{"STARTTLS\r\n", "502 5.5.1 Command not implemented\r\n"},
		{"EHLO inside.example\r\n", "250 old.example\r\n"},
		{"QUIT\r\n", "221 2.0.0 Bye\r\n"},
	} {
		client.say([]byte(line.says), false)
		require.Eventually(t, func() bool {
			more, _ := client.take()
			got += more
			return got == line.hears
		}, 20*time.Second, time.Millisecond, "after %q: %q", line.says, got)
		got = ""
	}
}

// The bounds of the negotiation are those of what makes the server one that starts afresh,
// too.
func TestResumeIsBounded(t *testing.T) {
	for name, test := range map[string]struct {
		timeout time.Duration
		want    error
	}{
		"timeout": {50 * time.Millisecond, ErrTimeout},
		"context": {time.Hour, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			config := upstreamConfig()
			config.Optional, config.NegotiationTimeout = true, test.timeout
			near, far := testkit.TCPPair(t)
			go lacksTLS(far, "RSET")
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := Request(ctx, near, SMTP, config)
			require.ErrorIs(t, err, test.want)
		})
	}
}
