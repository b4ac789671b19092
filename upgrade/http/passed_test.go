package http_test

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/http"
)

// A request that asks for the upgrade stays in plaintext where nobody would answer it inside TLS,
// without what asks.
func TestRequestsThatArePassedThrough(t *testing.T) {
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	go io.WriteString(far, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n")
	j, err := upgrade.Join(t.Context(), near, http.Protocol, &upgrade.Config{Optional: true, Passthrough: true})
	require.NoError(t, err)
	require.True(t, j.Conn().Outcome().Cleartext)
	b := make([]byte, 1000)
	n, err := j.Read(b)
	require.NoError(t, err)
	require.Equal(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", string(b[:n]))
}
