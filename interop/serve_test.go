package interop

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// serveEach serves whoever connects, until the end of the test. serve closes the connection.
func serveEach(t testing.TB, serve func(conn net.Conn)) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveOn(t, ln, serve)
	return ln.Addr().String()
}

// serveOn is serveEach with a listener, which it closes.
func serveOn(t testing.TB, ln net.Listener, serve func(conn net.Conn)) {
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
}
