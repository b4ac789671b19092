package tds

import (
	"encoding/binary"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// headSize is what a packet has in front of its data (MS-TDS section 2.2.3.1): type, status,
// length of all of it in two octets, SPID in two, number, window. Nobody takes notice of the
// last three.
const headSize = 8

// Types of packets (section 2.2.3.1.1).
const (
	typeReply    = 0x04 // a tabular result, or the answer to PRELOGIN
	typePrelogin = 0x12 // PRELOGIN, and records of the TLS handshake
)

// statusLast marks the last packet of a message (section 2.2.3.1.2).
const statusLast = 1

const (
	// maxPrelogin bounds a PRELOGIN and its answer, in octets. It is the size that packets have
	// before a login has agreed on another.
	maxPrelogin = 4096

	// maxHandshake bounds a packet of the handshake that we read. No packet may have more, and
	// none of it waits here.
	maxHandshake = 32767
)

// handshakePackets are what TLS is carried in (section 3.2.5.2). Servers have sent theirs as
// replies, too.
var handshakePackets = &dialogue.HandshakePackets{
	First:      typePrelogin,
	HeadSize:   headSize,
	MaxPayload: maxPrelogin - headSize,
	PayloadSize: func(head []byte) (int, error) {
		size := int(binary.BigEndian.Uint16(head[2:]))
		switch {
		case head[0] != typePrelogin && head[0] != typeReply, head[1] > statusLast:
			return 0, dialogue.ErrNotTLS
		case size <= headSize, size > maxHandshake:
			return 0, dialogue.ErrMalformed
		}
		return size - headSize, nil
	},
	Packet: func(payload []byte, last bool) []byte {
		p := packet(typePrelogin, payload)
		if !last {
			p[1] = 0
		}
		return p
	},
}

// packet makes one that is a message by itself.
func packet(kind byte, data []byte) []byte {
	p := binary.BigEndian.AppendUint16([]byte{kind, statusLast}, uint16(headSize+len(data))) //nolint:gosec // at most maxPrelogin
	return append(append(p, 0, 0, 1, 0), data...)
}

// cutPacket returns the size of the packet that b begins with, which must be a message by
// itself and of the given type, or 0 if more of it must arrive.
func cutPacket(b []byte, kind byte, longest int) (int, error) {
	switch {
	case len(b) > 0 && b[0] != kind, len(b) > 1 && b[1] != statusLast:
		return 0, dialogue.ErrMalformed
	case len(b) < 4:
		return 0, nil
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case size <= headSize:
		return 0, dialogue.ErrMalformed
	case size > longest:
		return 0, dialogue.ErrLineTooLong
	case len(b) < size:
		return 0, nil
	}
	return size, nil
}

// peekPacket returns such a packet, and leaves it to be read again.
func peekPacket(s *dialogue.Session, kind byte) ([]byte, error) {
	for wanted := 1; ; {
		b, err := s.Peek(wanted)
		if err != nil {
			return nil, err
		}
		size, err := cutPacket(b, kind, s.MaxLine())
		switch {
		case err != nil:
			return nil, err
		case size > 0:
			return b[:size], nil
		case wanted < 4:
			wanted++
		default:
			wanted = int(binary.BigEndian.Uint16(b[2:]))
		}
	}
}

// isLogin reports whether a message of this type logs in: LOGIN7, or the LOGIN of before.
func isLogin(kind byte) bool { return kind == 0x10 || kind == 0x02 }
