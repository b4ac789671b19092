// Package packets carries a TLS handshake in packets of a protocol, for tests that play a client
// or a server with crypto/tls.
package packets

import (
	"io"
	"net"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A Conn carries what is read and written in packets, until Over is set.
type Conn struct {
	net.Conn
	kind *dialogue.HandshakePackets
	rest int // of the packet

	Over bool
}

// Carry makes one. Without packets it is over from the beginning.
func Carry(conn net.Conn, kind *dialogue.HandshakePackets) *Conn {
	return &Conn{Conn: conn, kind: kind, Over: kind == nil}
}

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	if !c.Over && c.rest == 0 {
		head := make([]byte, c.kind.HeadSize)
		if _, err := io.ReadFull(c.Conn, head); err != nil {
			return 0, err
		}
		size, err := c.kind.PayloadSize(head)
		if err != nil {
			return 0, err
		}
		c.rest = size
	}
	if !c.Over {
		p = p[:min(len(p), c.rest)]
	}
	n, err := c.Conn.Read(p)
	c.rest -= n
	return n, err
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	if c.Over {
		return c.Conn.Write(p)
	}
	for rest := p; len(rest) > 0; {
		n := min(len(rest), c.kind.MaxPayload)
		if _, err := c.Conn.Write(c.kind.Packet(rest[:n], n == len(rest))); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}
