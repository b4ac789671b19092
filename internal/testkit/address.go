package testkit

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Ports are handed out from blocks, of which each process that runs tests has its own: a port
// that is free for now may be another process's a moment later, and servers that share ports,
// as Caddy does, do not notice. A process has a block for as long as it listens on its first port.
const (
	firstPort = 20000 // below the range of outgoing connections, so that none of these takes one
	lastPort  = 32000
	blockSize = 200
)

// ports are those that this process has.
var ports struct {
	sync.Mutex
	guards []net.Listener // which are never closed
	next   int            // to hand out of the last block
	left   int            // in it
	used   []int          // to hand out again when no block is left
}

// FreeAddress returns an address on 127.0.0.1 that is free at the moment and that no other call
// returns, in this process or in another one that runs tests, unless there are none but those.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 2 * (lastPort - firstPort) {
		port, ok := nextPort()
		if !ok {
			break
		}
		if addr := address(port); bindable(addr) {
			ports.used = append(ports.used, port)
			return addr
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}

// nextPort is a port of this process's: a new one, or the one that has been used longest ago.
func nextPort() (port int, ok bool) {
	if ports.left == 0 {
		claimBlock()
	}
	switch {
	case ports.left > 0:
		ports.left--
		ports.next++
		return ports.next - 1, true
	case len(ports.used) > 0:
		port, ports.used = ports.used[0], ports.used[1:]
		return port, true
	}
	return 0, false
}

// claimBlock begins a block that no process has, if there is one.
func claimBlock() {
	const blocks = (lastPort - firstPort) / blockSize
	for _, i := range rand.Perm(blocks) {
		first := firstPort + i*blockSize
		guard, err := net.Listen("tcp", address(first))
		if err == nil {
			ports.guards = append(ports.guards, guard)
			ports.next, ports.left = first+1, blockSize-1
			return
		}
	}
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

func bindable(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	_ = ln.Close()
	return true
}

// Port returns the port of an address, for configurations that want it alone.
func Port(t testing.TB, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return port
}

// AwaitListener waits until an address accepts connections.
func AwaitListener(t testing.TB, addr string) {
	t.Helper()
	Eventually(t, StartTimeout, addr+" to accept", func() bool { return Accepts(addr) })
}

// Accepts reports whether an address accepts connections.
func Accepts(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// Eventually waits for a condition that no event announces.
func Eventually(t testing.TB, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("waited %v for %s", timeout, what)
}
