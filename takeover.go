package l4starttls

import (
	"bytes"
	"io"
	"net"

	"github.com/mholt/caddy-l4/layer4"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
)

// takeOver makes of a Connection what an upgrade is negotiated on. It takes over what
// caddy-l4 has prefetched for its matchers: left in the Connection, plaintext would survive
// Connection.Wrap, which copies the buffer, and be served to the next handler as if
// it had come over TLS.
//
// In front of a server that speaks first there is hardly ever anything prefetched.
func takeOver(cx *layer4.Connection) net.Conn {
	prefetched := bytes.Clone(cx.MatchingBytes())
	if len(prefetched) == 0 {
		return halfCloser{cx}
	}
	_, _ = io.ReadFull(cx, prefetched) // from the buffer, which has as much
	return prefixconn.New(halfCloser{cx}, prefetched)
}

// A halfCloser is a Connection that can end its half, if the connection below can.
type halfCloser struct{ *layer4.Connection }

// CloseWrite ends our half.
func (c halfCloser) CloseWrite() error {
	if below, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return below.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below.
func (c halfCloser) NetConn() net.Conn { return c.Conn }
