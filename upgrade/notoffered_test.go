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

// A reply has any number of lines, also one that refuses. Only a server that does not know
// EHLO, or does not list STARTTLS, may go on in plaintext.
func TestRequestReadsWholeReplies(t *testing.T) {
	const plain, greeting = "250 old.example\r\n", "220-old.example\r\n220 ESMTP\r\n"
	for name, test := range map[string]struct {
		ehlo, rset string
		want       error
	}{
		"unknown":             {"500 what\r\n", plain, nil},
		"unknown, more lines": {"502-5.5.1 what\r\n502-5.5.1 is\r\n502 5.5.1 that\r\n", plain, nil},
		"bare":                {"500-\r\n500\r\n", plain, nil},
		"RSET, more lines":    {plain, "250-2.0.0 Ok\r\n250 2.0.0 Ok\r\n", nil},
		"RSET refused":        {plain, "421 bye\r\n", ErrRefused},
		"refused":             {"554-no\r\n554 no\r\n", plain, ErrRefused},
		"refused later":       {"250-old.example\r\n554 no\r\n", plain, ErrRefused},
		"busy":                {"421-busy\r\n421 busy\r\n", plain, ErrRefused},
		"no reply":            {"502-what\r\nis that\r\n", plain, ErrMalformed},
		"two replies":         {"502 what\r\n502 what\r\n", plain, ErrPipelined},
	} {
		t.Run(name, func(t *testing.T) {
			config := upstreamConfig()
			config.Optional = true
			near, far := testkit.TCPPair(t)
			go func() {
				answers := map[string]string{"EHLO": test.ehlo, "RSET": test.rset}
				_, _ = io.WriteString(far, greeting)
				for lines := bufio.NewScanner(far); lines.Scan(); {
					_, _ = io.WriteString(far, answers[lines.Text()[:4]])
				}
			}()
			up, err := Request(t.Context(), near, SMTP, config)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, test.want == nil, up.Outcome().Cleartext)
		})
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
