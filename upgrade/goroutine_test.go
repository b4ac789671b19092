package upgrade

import (
	"context"
	"net"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A watched connection looks at all goroutines with each Read and Write.
type watched struct {
	*memConn
	mu    sync.Mutex
	found map[string]bool // what has made goroutines, that is no test
	looks int
}

// made finds where a goroutine was made, at the end of its stack.
var made = regexp.MustCompile(`created by (\S+)(?: in goroutine \d+)?\n\t(\S+):\d+`)

func (w *watched) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	w.looks++
	for _, m := range made.FindAllStringSubmatch(string(stacks), -1) {
		by, file := m[1], m[2]
		ours := strings.Contains(by, "caddy-l4-starttls/") && !strings.HasSuffix(file, "_test.go")
		if ours || strings.HasPrefix(by, "crypto/tls.") || strings.HasPrefix(by, "context.") {
			w.found[by] = true
		}
	}
}

func (w *watched) Read(p []byte) (int, error) {
	w.look()
	defer w.look()
	return w.memConn.Read(p)
}

func (w *watched) Write(p []byte) (int, error) {
	w.look()
	defer w.look()
	return w.memConn.Write(p)
}

// Nothing inbound makes a goroutine: neither the negotiation, nor the handshake, nor a
// session with its filter, nor its end. A client has them, but for those of its context.
func TestNoGoroutineOfOurs(t *testing.T) {
	for i := range stayers {
		c := &stayers[i]
		inBubble(t, c.proto.Name, func(t *testing.T) {
			raw, rawClient := memPair()
			w := &watched{memConn: raw, found: map[string]bool{}}
			server, client := coreTLS()
			done := make(chan net.Conn, 1)
			go func() {
				conn, err := Request(context.Background(), rawClient, c.proto, &Config{Hostname: "c.example", TLS: client})
				if err != nil {
					t.Error(err)
				}
				done <- conn
			}()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			j, err := Join(ctx, w, c.proto, &Config{Hostname: testHost, TLS: server})
			require.NoError(t, err)
			backend := hear(j)
			inside := <-done
			tell(t, j, c.greeting)
			if c.proto != Postgres { // of which the stayer is a cleartext client
				tell(t, inside, c.ask)
				require.Equal(t, c.ask, backend.news())
				tell(t, j, c.answer)
			}
			synctest.Wait()
			require.NoError(t, j.CloseWrite())
			require.NoError(t, inside.Close())
			synctest.Wait()
			j.Returned(net.ErrClosed)
			require.Empty(t, w.found)
			require.Greater(t, w.looks, 4)
		})
	}
}
