package lenient

import (
	"bytes"
	"encoding/binary"
)

// mysql is a server of MySQL. It does not mind sequence numbers, takes the flag for TLS in
// a packet of any length, and asks for the password as it is. Where TLS begins it takes the
// first octet of a handshake for all of it.
type mysql struct {
	session
	handshake bool // of TLS is next
	asked     bool // for the password
}

const (
	mysqlTLS       = 1 << 11
	mysqlDatabase  = 1 << 3
	mysqlMaxPacket = 1 << 20
	mysqlClear     = "mysql_clear_password"
)

// mysqlGreeting has TLS in it, which the filter adds to any.
const mysqlGreeting = "\n8.0.36-lenient\x00\x07\x00\x00\x00abcdefgh\x00\x09\xaa\x2d\x02\x00\x08\x00" +
	"\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00mysql_native_password\x00"

// Greeting implements Backend.
func (b *mysql) Greeting() []byte { return b.packet(0, mysqlGreeting) }

func (*mysql) packet(number byte, payload string) []byte {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(payload))|uint32(number)<<24)
	return append(head, payload...)
}

// Feed implements Backend.
func (b *mysql) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *mysql) step() bool {
	if b.handshake && len(b.buf) > 0 {
		b.handshake = false
		b.buf = bytes.TrimPrefix(b.buf, []byte{0x16})
	}
	if len(b.buf) < 4 {
		return false
	}
	size, number := int(binary.LittleEndian.Uint32(b.buf)&0xffffff), b.buf[3]
	switch {
	case size > mysqlMaxPacket:
		b.closed = true
		return false
	case len(b.buf) < 4+size:
		return false
	}
	payload := b.buf[4 : 4+size]
	b.buf = b.buf[4+size:]
	switch {
	case b.loggedIn && size > 0 && payload[0] == 1: // COM_QUIT
		b.closed = true
	case b.loggedIn:
		b.ok(number)
	case b.asked:
		b.forbidPassword("password", payload)
		b.ok(number)
	case size < 4:
		b.closed = true
	default:
		b.first(number, payload)
	}
	return true
}

func (b *mysql) ok(number byte) {
	b.loggedIn = true
	b.out = append(b.out, b.packet(number+1, "\x00\x00\x00\x02\x00\x00\x00")...)
}

// first takes a login, and what asks for TLS in front of it.
func (b *mysql) first(number byte, payload []byte) {
	flags := binary.LittleEndian.Uint32(payload)
	if flags&mysqlTLS != 0 {
		b.forbid("SSLRequest", payload)
		if len(payload) <= 32 {
			b.handshake = true
			return
		}
	}
	if plugin, auth := b.login(flags, payload); plugin == mysqlClear && auth != "" {
		b.forbidPassword("password in the login", payload)
	}
	if b.has(Bare) {
		b.ok(number)
		return
	}
	b.asked = true
	b.out = append(b.out, b.packet(number+1, "\xfe"+mysqlClear+"\x00")...)
}

// login reads the client's plugin and what it has answered.
func (*mysql) login(flags uint32, payload []byte) (plugin, auth string) {
	_, rest, ok := bytes.Cut(payload[min(len(payload), 32):], []byte{0})
	if !ok || len(rest) == 0 || len(rest) < 1+int(rest[0]) {
		return "", ""
	}
	auth, rest = string(rest[1:1+int(rest[0])]), rest[1+int(rest[0]):]
	if flags&mysqlDatabase != 0 {
		_, rest, _ = bytes.Cut(rest, []byte{0})
	}
	name, _, _ := bytes.Cut(rest, []byte{0})
	return string(name), auth
}
