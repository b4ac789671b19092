package lenient

import (
	"bytes"
	"encoding/binary"
)

// rdp is a server of RDP. Like xrdp it looks for the negotiation wherever it may stand in the
// first message, and takes any length that its header gives.
type rdp struct {
	session
	connected bool
}

const (
	rdpHead = 11 // of a Connection Request
	rdpData = 7  // of a Data TPDU
)

// Greeting implements Backend.
func (*rdp) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *rdp) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *rdp) step() bool {
	if len(b.buf) < 4 {
		return false
	}
	size := int(binary.BigEndian.Uint16(b.buf[2:]))
	switch {
	case b.buf[0] != 3 || size < 4:
		b.closed = true
		return false
	case len(b.buf) < size:
		return false
	}
	message := b.buf[:size]
	b.buf = b.buf[size:]
	isData := size > rdpData && message[5] == 0xf0
	switch {
	case !b.connected && !isData: // inside TLS the request was before
		b.connect(message)
	case size > rdpData+1 && message[rdpData] == 0x7f && message[rdpData+1] == 0x65:
		answer := bytes.Clone(message) // of an MCS Connect-Initial
		answer[rdpData+1] = 0x66
		b.out = append(b.out, answer...)
	}
	return true
}

// connect confirms a Connection Request.
func (b *rdp) connect(message []byte) {
	if len(message) < rdpHead || message[5]&0xf0 != 0xe0 {
		b.closed = true
		return
	}
	b.connected = true
	confirm := []byte{3, 0, 0, rdpHead, rdpHead - 5, 0xd0, 0, 0, 0x12, 0x34, 0}
	if wishes := rdpWishes(message[rdpHead:]); wishes != 0 && !b.has(Bare) {
		selected := byte(2)
		if wishes&1 != 0 {
			b.forbid("RDP_NEG_REQ", message)
			selected = 1
		}
		confirm = append(confirm, 2, 0, 8, 0, selected, 0, 0, 0)
		confirm[3], confirm[4] = byte(len(confirm)), byte(len(confirm)-5)
	}
	b.out = append(b.out, confirm...)
}

// rdpWishes are the protocols that a client asks for, of which CredSSP alone is none that
// must not get here: its TLS is with the server.
func rdpWishes(variable []byte) byte {
	for i := 0; i+8 <= len(variable); i++ {
		if variable[i] == 1 && variable[i+2] == 8 && variable[i+3] == 0 && variable[i+4] != 0 {
			return variable[i+4]
		}
	}
	return 0
}
