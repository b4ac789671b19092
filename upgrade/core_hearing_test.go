package upgrade

import (
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A hearing is what somebody reads from a connection, as it comes.
type hearing struct {
	mu   sync.Mutex
	text []byte
	all  int
	err  error // that ended it; nil: still reading
}

// hear reads until there is an error, which it keeps.
func hear(from net.Conn) *hearing {
	h := new(hearing)
	go func() {
		chunk := make([]byte, 4096)
		for {
			n, err := from.Read(chunk)
			h.add(chunk[:n], err)
			if err != nil {
				return
			}
		}
	}()
	return h
}

func (h *hearing) add(p []byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.text = append(h.text, p...)
	h.all += len(p)
	h.err = err
}

// news is what has been read since the last time, once nothing moves any more.
func (h *hearing) news() string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	text := string(h.text)
	h.text = nil
	return text
}

// total is how many octets have been read, and the error that ended it, if any.
func (h *hearing) total() (int, error) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all, h.err
}

func tell(t *testing.T, to io.Writer, text string) {
	t.Helper()
	_, err := io.WriteString(to, text)
	require.NoError(t, err)
}
