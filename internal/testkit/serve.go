package testkit

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serveTime is how long a connection of Serve lasts at most.
const serveTime = 20 * time.Second

// Serve listens at a TCP address, and runs a server for each connection, which is closed when
// that returns. The test ends when all have, or 20 seconds after it was accepted.
func Serve(t testing.TB, address string, serve func(net.Conn)) (listening string) {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(serveTime))
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		running.Wait()
	})
	return ln.Addr().String()
}
