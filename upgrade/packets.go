package upgrade

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// packets are what the handshake of this connection travels in, or nil.
func (c *Conn) packets() *dialogue.HandshakePackets {
	if c.proto == nil || c.plain.outcome.ImplicitTLS {
		return nil
	}
	return c.proto.HandshakePackets
}

// beginsHandshake reports whether a client's handshake may begin so.
func (c *Conn) beginsHandshake(first byte) bool {
	if c.packets() == nil {
		return first == dialogue.RecordTypeHandshake
	}
	return first == c.proto.FirstOfTLS()
}

// forPackets changes a configuration for a handshake in packets. A Microsoft SQL Server
// expects no more than a record for each of its packets behind that, and not the small ones
// that crypto/tls begins with: https://github.com/microsoft/go-mssqldb/issues/166.
func forPackets(config *tls.Config) {
	if config.MaxVersion == 0 || config.MaxVersion > tls.VersionTLS12 {
		config.MaxVersion = tls.VersionTLS12
	}
	config.DynamicRecordSizingDisabled = true
}

// inPackets has what crypto/tls reads and writes carried in packets, up to the end of the
// handshake. It returns nil where there are none.
func (c *Conn) inPackets(below *transport) *packetConn {
	kind := c.packets()
	if kind == nil {
		return nil
	}
	lower := below.Conn
	p := &packetConn{Conn: &lower, kind: kind}
	below.Conn = prefixconn.Make(p, nil)
	return p
}

// A packetConn carries a handshake in packets of a protocol. It reads no octet beyond the
// packet that it is in, and keeps none.
type packetConn struct {
	net.Conn
	kind *dialogue.HandshakePackets
	rest int // of the packet, that is not read
	over bool
}

// end ends the packets. What has come in the last one belongs to the handshake.
func (p *packetConn) end() error {
	if p == nil {
		return nil
	}
	p.over = true
	if p.rest > 0 {
		return fmt.Errorf("%w: %d octets behind it in its packet", ErrMalformed, p.rest)
	}
	return nil
}

// Read yields what is in the packets.
func (p *packetConn) Read(b []byte) (int, error) {
	if p.over {
		return p.Conn.Read(b)
	}
	if p.rest == 0 {
		head := make([]byte, p.kind.HeadSize)
		if _, err := io.ReadFull(p.Conn, head); errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, io.EOF
		} else if err != nil {
			return 0, err
		}
		size, err := p.kind.PayloadSize(head)
		switch {
		case err != nil:
			return 0, err
		case size < 1: // or it would be the end for crypto/tls, and no end to read them
			return 0, fmt.Errorf("%w: an empty packet in the handshake", ErrMalformed)
		}
		p.rest = size
	}
	n, err := p.Conn.Read(b[:min(len(b), p.rest)])
	p.rest -= n
	return n, err
}

// Write puts b into packets, which are written at once.
func (p *packetConn) Write(b []byte) (int, error) {
	if p.over {
		return p.Conn.Write(b)
	}
	var packets []byte
	for rest := b; len(rest) > 0; {
		n := min(len(rest), p.kind.MaxPayload)
		packets = append(packets, p.kind.Packet(rest[:n], n == len(rest))...)
		rest = rest[n:]
	}
	if _, err := p.Conn.Write(packets); err != nil {
		return 0, err
	}
	return len(b), nil
}
