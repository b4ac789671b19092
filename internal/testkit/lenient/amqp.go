package lenient

import "encoding/binary"

// amqp is a server of AMQP 1.0. It takes a header wherever a frame may begin, more than one, and
// frames of any type and size in either layer. It knows TLS and logins no more behind the first frame
// of AMQP that follows a header of no layer: from there on the standard has frames of AMQP alone.
type amqp struct {
	session
	bare  bool // a header of no layer has been said
	begun bool // and a frame behind it
}

const (
	amqpMagic   = "AMQP"
	amqpTLS     = 2
	amqp091     = "\x00\x00\x09\x01"
	amqpInit    = 0x41 // sasl-init
	amqpOpen    = 0x10
	amqpHead    = 8
	amqpLargest = 1 << 20
)

// Greeting implements Backend.
func (*amqp) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *amqp) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *amqp) step() bool {
	if len(b.buf) < amqpHead {
		return false
	}
	if string(b.buf[:4]) == amqpMagic {
		b.header(b.buf[:amqpHead])
		b.buf = b.buf[amqpHead:]
		return true
	}
	size := int64(binary.BigEndian.Uint32(b.buf))
	switch {
	case size < amqpHead || size > amqpLargest:
		b.closed = true
		return false
	case int64(len(b.buf)) < size:
		return false
	}
	b.frame(b.buf[:size])
	b.buf = b.buf[size:]
	return true
}

// header answers a header with the same one.
func (b *amqp) header(h []byte) {
	if h[4] == amqpTLS && !b.begun {
		b.forbid("TLS header", h)
	}
	b.bare = b.bare || h[4] == 0
	b.begun = b.begun || string(h[4:]) == amqp091 // frames of other forms follow
	b.out = append(b.out, h...)
}

// frame answers an open with the same one, and a login with success.
func (b *amqp) frame(f []byte) {
	b.begun = b.begun || b.bare && f[5] == 0
	at := int(f[4]) * 4
	if len(f) < at+3 {
		return
	}
	switch f[at+2] {
	case amqpOpen:
		b.out = append(b.out, f...)
	case amqpInit:
		if !b.begun {
			b.forbidPassword("login", f)
		}
		b.out = append(b.out, "\x00\x00\x00\x10\x02\x01\x00\x00\x00\x53\x44\xc0\x03\x01\x50\x00"...)
	}
}
