package lenient

import "encoding/binary"

// postgres is a server of PostgreSQL. Like the original it looks at the code of a
// first message, and not at whether its length is the usual one.
type postgres struct {
	session
	started bool
	asked   bool // for a password as it is
}

const (
	pgSSLRequest    = 1234<<16 | 5679
	pgGSSENCRequest = 1234<<16 | 5680
	pgCancelRequest = 1234<<16 | 5678
	pgMaxMessage    = 1 << 20
)

// Greeting implements Backend.
func (*postgres) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *postgres) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *postgres) step() bool {
	head := 0
	if b.started {
		head = 1 // the type
	}
	if len(b.buf) < head+4 {
		return false
	}
	size := int64(binary.BigEndian.Uint32(b.buf[head:]))
	switch {
	case size < 4 || size > pgMaxMessage:
		b.closed = true
		return false
	case int64(len(b.buf)-head) < size:
		return false
	}
	message := b.buf[:head+int(size)]
	b.buf = b.buf[len(message):]
	if b.started {
		b.typed(message)
		return true
	}
	b.first(message)
	return true
}

// first takes a message without a type.
func (b *postgres) first(message []byte) {
	if len(message) < 8 {
		b.closed = true
		return
	}
	switch code := binary.BigEndian.Uint32(message[4:]); {
	case code == pgSSLRequest:
		b.forbid("SSLRequest", message)
		b.out = append(b.out, 'S')
	case code == pgGSSENCRequest:
		b.forbid("GSSENCRequest", message)
		b.out = append(b.out, 'G')
	case code == pgCancelRequest, code>>16 != 3:
		b.closed = true
	case b.has(Bare):
		b.started = true
		b.authentication(0)
	default:
		b.started, b.asked = true, true
		b.authentication(3)
	}
}

// typed takes the messages behind the first ones.
func (b *postgres) typed(message []byte) {
	switch {
	case message[0] == 'X':
		b.closed = true
	case message[0] == 'p' && b.asked:
		b.asked = false
		b.forbidPassword("password", message)
		b.authentication(0)
	}
}

// authentication says that a password is asked for as it is (3), or that all is
// well (0), and the server ready.
func (b *postgres) authentication(kind byte) {
	b.out = append(b.out, 'R', 0, 0, 0, 8, 0, 0, 0, kind)
	if kind == 0 {
		b.out = append(b.out, 'Z', 0, 0, 0, 5, 'I')
	}
}
