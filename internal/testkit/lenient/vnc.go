package lenient

import (
	"encoding/binary"
	"strings"
)

// vnc is a server of RFB 3.8 with the types None, VncAuth and VeNCrypt. A subtype of VeNCrypt with TLS is one
// that must not be asked for. A client that says no version has said it before TLS, and its type.
type vnc struct {
	session
	stage int
}

// What comes next from a client.
const (
	vncVersion = iota
	vncType
	vncVeNCrypt
	vncSubtype
	vncUser
	vncResponse // or whatever else, once it is answered
)

const (
	vncVersions  = "RFB 003."
	vncChallenge = "backend-backend-"
	vncPlain     = 256
	vncMaxUser   = 1 << 20
)

// Greeting implements Backend.
func (*vnc) Greeting() []byte { return []byte("RFB 003.008\n") }

// Feed implements Backend.
func (b *vnc) Feed(p []byte) []byte { return b.run(p, b.step) }

// vncSizes are how many octets come next.
var vncSizes = map[int]int{vncVersion: 12, vncType: 1, vncVeNCrypt: 2, vncSubtype: 4, vncUser: 8, vncResponse: len(vncChallenge)}

func (b *vnc) step() bool {
	if b.stage == vncVersion && len(b.buf) > 0 && !strings.HasPrefix(vncVersions, string(b.buf[:min(len(b.buf), len(vncVersions))])) {
		b.stage = vncResponse
	}
	size := vncSizes[b.stage]
	if b.stage == vncUser && len(b.buf) >= size {
		size += int(min(vncMaxUser, binary.BigEndian.Uint32(b.buf))) + int(min(vncMaxUser, binary.BigEndian.Uint32(b.buf[4:])))
	}
	if len(b.buf) < size {
		return false
	}
	message := b.buf[:size]
	b.buf = b.buf[size:]
	b.hear(message)
	return !b.closed
}

func (b *vnc) hear(message []byte) {
	switch b.stage {
	case vncVersion:
		b.hearVersion(string(message))
	case vncType:
		b.choose(message[0])
	case vncVeNCrypt:
		b.out = append(b.out, 0, 2, 0, 0, 1, 5, 0, 0, 1, 0) // any version is as good
		b.stage = vncSubtype
	case vncSubtype:
		if subtype := binary.BigEndian.Uint32(message); subtype != vncPlain && subtype != 0 {
			b.forbid("VeNCrypt", message)
			b.closed = true
		}
		b.stage = vncUser
	default:
		b.result()
	}
}

// hearVersion takes whatever is not 3.7 or later for 3.3.
func (b *vnc) hearVersion(version string) {
	if version[len(vncVersions):] >= "007" {
		types := []byte{3, 1, 2, 19}
		if b.has(Bare) {
			types = []byte{2, 1, 2}
		}
		b.out = append(b.out, types...)
		b.stage = vncType
		return
	}
	b.out = append(b.out, "\x00\x00\x00\x02"+vncChallenge...)
	b.stage = vncResponse
}

func (b *vnc) choose(security byte) {
	switch {
	case security == 1:
		b.result()
	case security == 2:
		b.out = append(b.out, vncChallenge...)
		b.stage = vncResponse
	case security == 19 && !b.has(Bare):
		b.out = append(b.out, 0, 2)
		b.stage = vncVeNCrypt
	default:
		b.closed = true
	}
}

func (b *vnc) result() {
	if b.has(RefuseLogin) {
		b.out = append(b.out, "\x00\x00\x00\x01\x00\x00\x00\x02no"...)
		b.closed = true
		return
	}
	b.out = append(b.out, 0, 0, 0, 0)
	b.stage = vncResponse
}
