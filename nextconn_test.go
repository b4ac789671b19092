package l4starttls

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/bufpipe"
)

// A goneClient has said more than there is room for, and cannot be told anything.
type goneClient struct{ net.Conn }

func (goneClient) Read(p []byte) (int, error)         { return len(p), nil }
func (goneClient) Write([]byte) (int, error)          { return 0, io.ErrClosedPipe }
func (goneClient) CloseWrite() error                  { return nil }
func (goneClient) SetReadDeadline(_ time.Time) error  { return nil }
func (goneClient) SetWriteDeadline(_ time.Time) error { return nil }

// A next handler that does not read, as one does whose upstream does not, keeps nothing of
// a client that is gone for longer than its time.
func TestJoinOfAClientThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, its := bufpipe.New(goneClient{})
		n := &nextConn{ours: ours, done: make(chan struct{})}
		_, err := io.WriteString(its, "to nobody")
		require.NoError(t, err)
		start := time.Now()
		n.join(goneClient{}, ours)
		require.LessOrEqual(t, time.Since(start), nextTimeout)
	})
}
