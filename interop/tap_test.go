package interop

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// tap is a proxy that writes down what goes up.
type tap struct {
	addr    string
	up      transcript
	dialled atomic.Int64 // connections
}

func startTap(t testing.TB, server string) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return tapOn(t, ln, server)
}

// startTerminator takes TLS from the first byte for a server that cannot, and returns
// its address.
func startTerminator(t testing.TB, ca *authority, server string) string {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(ca.issue(t, upHost, "localhost"))
	require.NoError(t, err)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}})
	require.NoError(t, err)
	return tapOn(t, ln, server).addr
}

func tapOn(t testing.TB, ln net.Listener, server string) *tap {
	tap := &tap{addr: ln.Addr().String()}
	serveOn(t, ln, func(conn net.Conn) {
		tap.dialled.Add(1)
		tap.pass(conn, server)
	})
	return tap
}

// pass ends both connections as soon as one of them ends.
func (tap *tap) pass(conn net.Conn, server string) {
	defer conn.Close()
	up, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	go func() {
		defer up.Close()
		io.Copy(io.MultiWriter(&tap.up, up), conn)
	}()
	io.Copy(conn, up)
}

// requireNone requires that none of these went up in plaintext.
func (tap *tap) requireNone(t testing.TB, words ...string) {
	t.Helper()
	for _, word := range words {
		require.NotContains(t, tap.up.String(), word)
	}
}
