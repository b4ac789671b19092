package line_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/line"
)

const testHost = "mail.example.com"

// testTLS makes the two sides' configurations around a fresh certificate.
var testTLS = sync.OnceValues(func() (server, client *tls.Config) { return testkit.TLSConfigs(testHost) })

// replying is a configuration with a reply to the command, or none.
func replying(reply string) *upgrade.Config {
	return &upgrade.Config{Options: map[string]string{"reply": reply}}
}

// A lineApp is an application behind the relay: it answers PING, and keeps what
// it has read.
type lineApp struct {
	x        *upgrade.Joined
	upgrades atomic.Int32
	lines    []string // once ended is closed
	err      error    // likewise
	ended    chan struct{}
}

// relayLines starts an application behind a relay, and returns its client's end.
func relayLines(t *testing.T, config *upgrade.Config) (*lineApp, net.Conn) {
	server, client := testkit.TCPPair(t)
	config.TLS, _ = testTLS()
	config.Optional = true
	joined, err := upgrade.Join(t.Context(), server, line.Protocol, config)
	require.NoError(t, err)
	app := &lineApp{x: joined, ended: make(chan struct{})}
	app.x.Upgraded = func() { app.upgrades.Add(1) }
	go app.serve()
	t.Cleanup(func() {
		_ = server.Close()
		<-app.ended
	})
	return app, client
}

func (app *lineApp) serve() {
	defer close(app.ended)
	lines := bufio.NewScanner(app.x)
	for lines.Scan() {
		app.lines = append(app.lines, lines.Text())
		if strings.TrimSpace(lines.Text()) != "PING" {
			continue
		}
		if _, app.err = app.x.Write([]byte("PONG\n")); app.err != nil {
			return
		}
	}
	app.err = lines.Err()
}

// readRaw reads up to the end of a line and no further.
func readRaw(t *testing.T, c net.Conn) string {
	var line []byte
	for one := make([]byte, 1); ; {
		_, err := io.ReadFull(c, one)
		require.NoError(t, err, "after %q", line)
		line = append(line, one...)
		if one[0] == '\n' {
			return string(line)
		}
	}
}

func say(t *testing.T, c net.Conn, text string) {
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

func lineTLS(t *testing.T, c net.Conn) *tls.Conn {
	_, config := testTLS()
	secure := tls.Client(c, config)
	require.NoError(t, secure.Handshake())
	return secure
}

func TestIsUpgradedInPlace(t *testing.T) {
	for _, reply := range []string{"", "GO"} {
		for _, end := range []string{"\n", "\r\n"} {
			t.Run(fmt.Sprintf("%q%q", reply, end), func(t *testing.T) {
				app, client := relayLines(t, replying(reply))
				say(t, client, "PING\n")
				require.Equal(t, "PONG\n", readRaw(t, client))
				say(t, client, "XSTARTTLS"+end+"STARTTLSX"+end+"starttls"+end+"STARTTLS"+end)
				if reply != "" {
					require.Equal(t, reply+end, readRaw(t, client))
				}
				secure := lineTLS(t, client)
				say(t, secure, "PING\n")
				require.Equal(t, "PONG\n", readRaw(t, secure))
				say(t, secure, "STARTTLS\n") // means nothing any more
				require.NoError(t, secure.CloseWrite())
				<-app.ended
				require.NoError(t, app.err)
				require.EqualValues(t, 1, app.upgrades.Load())
				require.Equal(t, []string{"PING", "XSTARTTLS", "STARTTLSX", "starttls", "PING", "STARTTLS"}, app.lines)
			})
		}
	}
}

func TestRefusesPlaintextBehindTheCommand(t *testing.T) {
	for _, reply := range []string{"", "GO"} {
		for _, injected := range []string{"INJECTED\n", "INJ", "\x00"} {
			t.Run(fmt.Sprintf("%q%q", reply, injected), func(t *testing.T) {
				app, client := relayLines(t, replying(reply))
				say(t, client, "PING\nSTARTTLS\n"+injected)
				require.Equal(t, "PONG\n", readRaw(t, client))
				<-app.ended
				require.ErrorIs(t, app.err, upgrade.ErrPipelined)
				require.ErrorIs(t, app.x.Err(), upgrade.ErrPipelined)
				require.Equal(t, []string{"PING"}, app.lines)
				require.Zero(t, app.upgrades.Load())
				_, err := app.x.Write([]byte("PONG\n"))
				require.ErrorIs(t, err, upgrade.ErrPipelined, "not a byte in plaintext follows")
			})
		}
	}
}

// prefixConn sends something in front of the first write, in the same segment.
type prefixConn struct {
	net.Conn
	prefix string
}

func (c *prefixConn) Write(p []byte) (int, error) {
	all := append([]byte(c.prefix), p...)
	c.prefix = ""
	n, err := c.Conn.Write(all)
	return n - (len(all) - len(p)), err
}

func TestTakesAClientHelloInTheSameSegment(t *testing.T) {
	app, client := relayLines(t, &upgrade.Config{})
	secure := lineTLS(t, &prefixConn{Conn: client, prefix: "STARTTLS\n"})
	say(t, secure, "PING\n")
	require.Equal(t, "PONG\n", readRaw(t, secure))
	require.EqualValues(t, 1, app.upgrades.Load())
}

func TestRefusesAClientHelloBeforeTheReply(t *testing.T) {
	app, client := relayLines(t, replying("GO"))
	_, config := testTLS()
	secure := tls.Client(&prefixConn{Conn: client, prefix: "STARTTLS\n"}, config)
	go func() { _ = secure.Handshake() }()
	<-app.ended
	require.ErrorIs(t, app.err, upgrade.ErrPipelined)
}

func TestEndsAClientThatNeverUpgrades(t *testing.T) {
	app, client := relayLines(t, &upgrade.Config{NegotiationTimeout: 100 * time.Millisecond})
	require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
	say(t, client, "PING\nSTART")
	require.Equal(t, "PONG\n", readRaw(t, client))
	rest, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Empty(t, rest)
	<-app.ended
	require.ErrorIs(t, app.x.Err(), upgrade.ErrTimeout)
	require.Equal(t, "PING", app.lines[0])
}

func TestEndsAClientThatNeverBeginsTheHandshake(t *testing.T) {
	app, client := relayLines(t, &upgrade.Config{HandshakeTimeout: 100 * time.Millisecond})
	say(t, client, "STARTTLS\n")
	<-app.ended
	require.Error(t, app.x.Err())
	require.ErrorContains(t, app.x.Err(), "handshake")
}

// Lines of the application end where the reply begins, and go on inside TLS.
func TestApplicationMayWriteDuringTheHandshake(t *testing.T) {
	app, client := relayLines(t, replying("GO"))
	stopped := make(chan error, 1)
	go func() {
		for {
			if _, err := app.x.Write([]byte("TICK\n")); err != nil {
				stopped <- err
				return
			}
		}
	}()
	require.Equal(t, "TICK\n", readRaw(t, client))
	say(t, client, "STARTTLS\n")
	for line := ""; line != "GO\n"; line = readRaw(t, client) {
		require.Contains(t, []string{"", "TICK\n"}, line)
	}
	secure := lineTLS(t, client)
	for range 1000 {
		require.Equal(t, "TICK\n", readRaw(t, secure))
	}
	require.NoError(t, client.Close())
	<-app.ended
	require.Error(t, <-stopped)
}
