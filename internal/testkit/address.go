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

// taken remembers the ports handed out in this run: a port is free again for the
// kernel as soon as FreeAddress has looked at it.
var taken struct {
	sync.Mutex
	ports map[int]bool
}

// FreeAddress returns an address on 127.0.0.1 that is free at the moment and that no
// other call returns. The ports are from below the range of outgoing connections, so that
// none of these takes one before its server listens.
func FreeAddress(t testing.TB) string {
	t.Helper()
	taken.Lock()
	defer taken.Unlock()
	if taken.ports == nil {
		taken.ports = make(map[int]bool)
	}
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if !taken.ports[port] && bindable(addr) {
			taken.ports[port] = true
			return addr
		}
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}

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
