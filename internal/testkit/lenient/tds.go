package lenient

import (
	"bytes"
	"encoding/binary"
)

// tds is a server of TDS. It takes any status and any option, in any order, for what it may
// mean, and does not mind what came before.
type tds struct{ session }

const (
	tdsHead  = 8
	tdsReply = 4
)

// tdsAnswer says that there is no TLS.
const tdsAnswer = "\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff" + "\x0f\x00\x10\x7d\x00\x00" + "\x02"

// tdsLoginAck has a version of TDS, no name, a version of the server, and DONE.
const tdsLoginAck = "\xad\x0a\x00\x01\x74\x00\x00\x04\x00\x0f\x00\x10\x7d" + tdsDone

const tdsDone = "\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// Greeting implements Backend.
func (*tds) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *tds) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *tds) reply(data string) {
	head := binary.BigEndian.AppendUint16([]byte{tdsReply, 1}, uint16(tdsHead+len(data)))
	b.out = append(append(append(b.out, head...), 0, 0, 1, 0), data...)
}

func (b *tds) step() bool {
	if len(b.buf) < tdsHead {
		return false
	}
	size := int(binary.BigEndian.Uint16(b.buf[2:]))
	switch {
	case size < tdsHead:
		b.closed = true
		return false
	case len(b.buf) < size:
		return false
	}
	kind, data := b.buf[0], b.buf[tdsHead:size]
	b.buf = b.buf[size:]
	switch {
	case b.loggedIn:
		b.reply(tdsDone)
	case kind == 0x12:
		b.prelogin(data)
	case kind == 0x10, kind == 0x02:
		b.forbidPassword("login", data)
		b.loggedIn = true
		b.reply(tdsLoginAck)
	default:
		b.closed = true
	}
	return true
}

// prelogin notes each wish for TLS, wherever it is.
func (b *tds) prelogin(data []byte) {
	if len(data) > 0 && data[0] == 0x16 {
		b.forbid("ClientHello", data)
	}
	for at := 0; at+5 <= len(data) && data[at] != 0xff; at += 5 {
		from := int(binary.BigEndian.Uint16(data[at+1:]))
		if data[at] == 1 && from < len(data) && data[from] != 2 {
			b.forbid("ENCRYPTION", bytes.Clone(data[from:from+1]))
		}
	}
	b.reply(tdsAnswer)
}
