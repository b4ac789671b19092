package interop

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// nntpHost is the name that clients of news verify.
const nntpHost = "news.example.com"

// newsPython posts and reads with Python's own client, which is gone in Python 3.13.
func (f *front) newsPython(t testing.TB, ca string) (string, error) {
	t.Helper()
	return debianPython(t, "nntplib", "testdata/news.py", port(t, f.addr), ca, mailUser, mailPassword, newsGroup)
}

func TestNNTPClients(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, settings := range map[string]string{"without TLS": "", "with TLS of its own": withTLS(t, ca)} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, "nntp", []string{nntpHost, "localhost"}, startINN(t, settings).reader)
			f.requireUpgrades(t)
			f.requireALPN(t, "nntp")
			f.requireResumption(t, "QUIT\r\n")
			out, err := f.newsPython(t, f.Root())
			require.NoError(t, err, out)
			require.Contains(t, out, "greeting: 200\nverified: localhost\n")
			require.Regexp(t, `(?m)^capabilities: .*\bREADER\b`, out)
			require.NotRegexp(t, `(?m)^capabilities: .*\bSTARTTLS\b`, out)
			require.Contains(t, out, "posted: 240\nread: True\noverview: ['hello']\nquit: 205\n")
		})
	}
}

// A reader that has not logged in meets the filter all the time.
func TestNNTPBackend(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ca := newAuthority(t)
	f := startFront(t, "nntp", []string{nntpHost}, startINN(t, withTLS(t, ca)).reader)
	c := upgraded(t, f.caddyServer, "nntp", f.addr, nntpHost)
	c.send("CAPABILITIES")
	list := c.expect(`^\.\r?\n`)
	require.Contains(t, list, "READER")
	require.NotContains(t, list, "STARTTLS")
	c.send("STARTTLS")
	c.expect(`^502 TLS is active already\r?\n`)
	c.send("HELP")
	require.Contains(t, c.expect(`^\.\r?\n`), "STARTTLS") // it is the list of its commands
	c.send("AUTHINFO USER alice")
	c.expect(`^381 .*\n`)
	c.send("AUTHINFO PASS wrong")
	c.expect(`^481 .*\n`)
	c.send("STARTTLS")
	c.expect(`^502 TLS is active already\r?\n`)
	c.send("AUTHINFO USER alice")
	c.expect(`^381 .*\n`)
	c.send("AUTHINFO PASS " + mailPassword)
	c.expect(`^281 .*\n`)
	c.send("STARTTLS")
	c.expect(`^502 .*\n`) // INN's own
	c.send("QUIT")
	c.expect(`^205 .*\n`)
	require.Empty(t, strings.TrimSpace(c.end()))
}

// streamed is an article with what would be commands outside of it.
var streamed = "Path: peer.example\nFrom: a@example.com\nNewsgroups: " + newsGroup + "\nSubject: streamed\n" +
	"Message-ID: <streamed@example.com>\nDate: " + time.Now().UTC().Format(time.RFC1123Z) + "\n\nSTARTTLS\n..\nQUIT\n."

// A peer's articles come without being asked for.
func TestNNTPStreaming(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	f := startFront(t, "nntp", []string{nntpHost}, startINN(t, "").peer)
	c := upgraded(t, f.caddyServer, "nntp", f.addr, nntpHost)
	c.send("MODE STREAM")
	c.expect(`^203 .*\n`)
	c.send("TAKETHIS <streamed@example.com>\n" + streamed)
	c.expect(`^239 <streamed@example.com>`)
	c.send("STARTTLS")
	c.expect(`^502 TLS is active already\r?\n`)
	c.send("QUIT")
	c.expect(`^205 .*\n`)
}

// Clients in plaintext use a server that has TLS through starttls_upstream.
func TestNNTPUpstream(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	n := startINN(t, withTLS(t, ca))
	r := startRoutes(t, nil, map[string]string{
		"nntp": upgradeUpstream("nntp", n.reader, upHost, ca), "other": upgradeUpstream("nntp", n.reader, upHost, newAuthority(t)),
	})
	f := r.front("nntp", "nntp")
	out, err := f.newsPython(t, "-")
	require.NoError(t, err, out)
	require.Contains(t, out, "posted: 240\nread: True\noverview: ['hello']\nquit: 205\n")
	require.Equal(t, "400 Upstream certificate could not be verified\r\n", lastLine(plainReply(t, r.addr["other"], "DATE\r\n")))
}

func lastLine(text string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1] + "\n"
}

// A backend that refuses is heard by a client that is past the greeting.
func TestNNTPBackendDown(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	f := startFront(t, "nntp", []string{nntpHost}, freeAddr(t))
	c := upgraded(t, f.caddyServer, "nntp", f.addr, nntpHost)
	c.expect(`^400 .*\n`)
	require.Empty(t, strings.TrimSpace(c.end()))
}
