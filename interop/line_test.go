package interop

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lineHost is the name that the client verifies.
const lineHost = "line.example.com"

// startPonger runs an application that knows nothing of TLS and answers PING with
// PONG, and anything else with the line itself.
func startPonger(t testing.TB) string {
	t.Helper()
	return startReplier(t, func(line string) string { return strings.Replace(line, "PING", "PONG", 1) })
}

// startReplier runs an application that answers each line until it is QUIT.
func startReplier(t testing.TB, reply func(line string) string) string {
	t.Helper()
	return serveEach(t, func(conn net.Conn) { replyTo(conn, reply) })
}

func replyTo(conn net.Conn, reply func(line string) string) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	lines := bufio.NewScanner(conn)
	for lines.Scan() && lines.Text() != "QUIT" {
		fmt.Fprintln(conn, reply(lines.Text()))
	}
}

// TestLineDemo goes from PING in plaintext to PING in TLS on one connection.
func TestLineDemo(t *testing.T) {
	t.Parallel()
	need(t, "python3")
	for name, test := range map[string]struct{ options, dialogue []string }{
		"default":        {nil, []string{"STARTTLS"}},
		"command":        {[]string{`command "GO SECURE"`}, []string{"GO SECURE"}},
		"command, reply": {[]string{`command UPGRADE`, `reply "GO AHEAD"`}, []string{"UPGRADE", "GO AHEAD"}},
		"only a reply":   {[]string{`reply OK`}, []string{"STARTTLS", "OK"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFront(t, "line", []string{lineHost}, startPonger(t), test.options...)
			args := append([]string{"testdata/line_client.py", port(t, f.addr), lineHost, f.Root()}, test.dialogue...)
			out, err := run(t, clientTimeout, "", "python3", args...)
			require.NoError(t, err, out)
			require.Equal(t, "in plaintext: PONG\nverified: "+lineHost+"\nin TLS: PONG\nthe end\n", out)
		})
	}
}

// TestLineRefusesPlaintextBehindRequest sends a line where the ClientHello belongs.
// It must not reach the application, neither as the client's nor in plaintext.
func TestLineRefusesPlaintextBehindRequest(t *testing.T) {
	t.Parallel()
	f := startFront(t, "line", []string{lineHost}, startPonger(t))
	require.NotContains(t, plainReply(t, f.addr, "STARTTLS\nPING\n"), "PONG")
	require.Equal(t, "PONG\n", plainReply(t, f.addr, "PING\nQUIT\n"))
}
