// Package prefixconn has the connection that yields some bytes first: what has been read
// of it already, or what somebody puts in front.
package prefixconn

import (
	"errors"
	"net"
)

// A Conn yields its prefix before what the connection below has. All else is that of the
// connection below, which whoever made it closes, by Conn.Close or directly.
type Conn struct {
	net.Conn
	prefix []byte
}

// New makes a Conn. It keeps prefix, and never writes to it.
func New(conn net.Conn, prefix []byte) *Conn {
	c := Make(conn, prefix)
	return &c
}

// Make is New for those who have a place for it.
func Make(conn net.Conn, prefix []byte) Conn { return Conn{Conn: conn, prefix: prefix} }

// Read yields the prefix, then what the connection below has.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.prefix) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.prefix)
	c.prefix = c.prefix[n:]
	if len(c.prefix) == 0 {
		c.prefix = nil
	}
	return n, nil
}

// Unread puts bytes in front of what is left of the prefix.
func (c *Conn) Unread(p []byte) {
	if len(p) > 0 {
		c.prefix = append(p[:len(p):len(p)], c.prefix...)
	}
}

// Buffered returns how many bytes of the prefix nobody has read, and of what the
// connection below has read ahead.
func (c *Conn) Buffered() int {
	n := len(c.prefix)
	if below, ok := c.Conn.(interface{ Buffered() int }); ok {
		n += below.Buffered()
	}
	return n
}

// CloseWrite ends our half. If the connection below cannot, it is errors.ErrUnsupported.
func (c *Conn) CloseWrite() error {
	if below, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return below.CloseWrite()
	}
	return errors.ErrUnsupported
}

// NetConn returns the connection below. Reading from it skips what is left of the prefix.
func (c *Conn) NetConn() net.Conn { return c.Conn }
