package interop

import (
	"bufio"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// countingBackend accepts connections, says nothing, and counts.
func countingBackend(t testing.TB) (addr string, connections func() int64) {
	t.Helper()
	var count atomic.Int64
	addr = serveEach(t, func(conn net.Conn) {
		count.Add(1)
		conn.Close()
	})
	return addr, count.Load
}

// plainConn is a client that does not upgrade.
type plainConn struct {
	t testing.TB
	net.Conn
	lines *bufio.Scanner
}

func dialPlain(t testing.TB, addr string) *plainConn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return &plainConn{t: t, Conn: conn, lines: bufio.NewScanner(conn)}
}

func (c *plainConn) send(line string) {
	c.t.Helper()
	_, err := c.Write([]byte(line + "\r\n"))
	require.NoError(c.t, err)
}

// expect reads lines up to one with the given prefix. Lines in front of it must be
// what a list of capabilities consists of.
func (c *plainConn) expect(prefix string) {
	c.t.Helper()
	var lines []string
	for c.lines.Scan() {
		lines = append(lines, c.lines.Text())
		if strings.HasPrefix(c.lines.Text(), prefix) {
			return
		}
		require.Regexp(c.t, `^("|\d\d\d-)`, c.lines.Text())
	}
	require.FailNow(c.t, "no line begins with "+prefix, "%q, %v", lines, c.lines.Err())
}

// rest reads until the server closes, which it must do.
func (c *plainConn) rest() string {
	c.t.Helper()
	var lines strings.Builder
	for c.lines.Scan() {
		lines.WriteString(c.lines.Text() + "\n")
	}
	require.NotErrorIs(c.t, c.lines.Err(), os.ErrDeadlineExceeded, "the connection stayed open")
	return lines.String()
}
