package upgrade

import (
	"io"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A quickClient is the server's end of a connection whose client answers before Write has
// returned.
type quickClient struct {
	*memConn
	answer func()
}

func (c *quickClient) Write(p []byte) (int, error) {
	n, err := c.memConn.Write(p)
	if answer := c.answer; answer != nil {
		c.answer = nil
		answer()
	}
	return n, err
}

// TestLastWordsBehindTheBackends has a client end the session by what it says, while the
// backend's words to it are still being written. It hears why.
func TestLastWordsBehindTheBackends(t *testing.T) {
	t.Parallel()
	server, client := memPair()
	raw := &quickClient{memConn: server}
	joined := JoinAs(raw, LDAP, &Config{}, dialogue.Situation{})
	raw.answer = func() {
		_, err := io.WriteString(client, "no LDAP\r\n")
		require.NoError(t, err)
		for closed := false; !closed; runtime.Gosched() {
			joined.mu.Lock()
			closed = joined.x.Closed()
			joined.mu.Unlock()
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := joined.Read(make([]byte, 100))
		ended <- err
	}()
	const response = "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"
	_, err := io.WriteString(joined, response)
	require.NoError(t, err)
	require.ErrorIs(t, <-ended, io.EOF)
	said, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Greater(t, len(said), len(response), "the client was not told why")
}
