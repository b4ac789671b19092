package l4starttls

import (
	"bytes"
	"cmp"
	"io"
	"time"

	"github.com/mholt/caddy-l4/layer4"
)

// A lowerConn is what the upgrade is negotiated on. It takes over what caddy-l4 has
// prefetched for its matchers: left in the Connection, plaintext would survive
// Connection.Wrap, which copies the buffer, and be served to the next handler as if
// it had come over TLS.
type lowerConn struct {
	*layer4.Connection
	prefetched []byte
}

func newLowerConn(cx *layer4.Connection) *lowerConn {
	c := &lowerConn{Connection: cx, prefetched: bytes.Clone(cx.MatchingBytes())}
	if len(c.prefetched) > 0 {
		_, _ = io.ReadFull(cx, c.prefetched) // from the buffer, which has as much
	}
	return c
}

// prefetch waits for the first bytes, unless they are there, and leaves them to Read.
func (c *lowerConn) prefetch(deadline time.Time) error {
	if len(c.prefetched) > 0 {
		return nil
	}
	chunk := make([]byte, 4096)
	if err := c.SetReadDeadline(deadline); err != nil {
		return err
	}
	n, err := c.Connection.Read(chunk)
	c.prefetched = chunk[:n]
	if n == 0 {
		return cmp.Or(err, io.ErrNoProgress)
	}
	return c.SetReadDeadline(time.Time{})
}

// Read yields the prefetched bytes first.
func (c *lowerConn) Read(p []byte) (int, error) {
	if len(c.prefetched) > 0 {
		n := copy(p, c.prefetched)
		c.prefetched = c.prefetched[n:]
		return n, nil
	}
	return c.Connection.Read(p)
}

// Buffered tells how many bytes have arrived that nobody has read.
func (c *lowerConn) Buffered() int { return len(c.prefetched) }

// CloseWrite ends our half, if the connection below can.
func (c *lowerConn) CloseWrite() error {
	if below, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return below.CloseWrite()
	}
	return nil
}
