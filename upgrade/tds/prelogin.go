package tds

import (
	"bytes"
	"encoding/binary"
)

// Tokens of options (MS-TDS section 2.2.6.5). Those that are not named here pass as they are.
const (
	tokenVersion    = 0x00
	tokenEncryption = 0x01
	tokenInstance   = 0x02
	tokenThread     = 0x03
	tokenMARS       = 0x04
	tokenEnd        = 0xff
)

// What an ENCRYPTION option says.
const (
	encryptOff    = 0 // TLS for the login alone
	encryptOn     = 1
	encryptNotSup = 2 // no TLS
	encryptReq    = 3
)

// An option is a token and where its value is, in the data of a packet.
type option struct {
	token    byte
	from, to int
}

// optionSize is that of an option's head: token, offset and length, of two octets each.
const optionSize = 1 + 2 + 2

// parseOptions returns the options, and where their heads end.
func parseOptions(data []byte) (options []option, end int, ok bool) {
	for at := 0; at < len(data); at += optionSize {
		if data[at] == tokenEnd {
			return options, at + 1, true
		}
		if at+optionSize > len(data) {
			break
		}
		from := int(binary.BigEndian.Uint16(data[at+1:]))
		o := option{data[at], from, from + int(binary.BigEndian.Uint16(data[at+3:]))}
		if o.to > len(data) {
			break
		}
		options = append(options, o)
	}
	return nil, 0, false
}

// A prelogin is a PRELOGIN or its answer, with the packet's head.
type prelogin struct {
	packet []byte
	at     int // where in it ENCRYPTION is
}

// parsePrelogin takes a whole packet apart. Two options for ENCRYPTION, or something else in
// the same place, could be read in more than one way.
func parsePrelogin(packet []byte) (p prelogin, ok bool) {
	data := packet[headSize:]
	options, end, ok := parseOptions(data)
	if !ok || len(options) == 0 || options[0].token != tokenVersion {
		return p, false
	}
	at := 0
	for _, o := range options {
		switch {
		case o.token != tokenEncryption:
		case at > 0, o.from < end, o.to != o.from+1:
			return p, false
		default:
			at = o.from
		}
	}
	for _, o := range options {
		if o.token != tokenEncryption && o.from <= at && at < o.to {
			return p, false
		}
	}
	return prelogin{packet, headSize + at}, at > 0
}

// encryption is what it says of TLS.
func (p prelogin) encryption() byte { return p.packet[p.at] }

// known reports whether we know what it says of TLS. There are flags for client certificates,
// which no backend would see.
func (p prelogin) known() bool { return p.encryption() <= encryptReq }

// answer is what a client is told that says this: one that has not asked for TLS for all that
// it is required.
func (p prelogin) answer() byte {
	if e := p.encryption(); e == encryptOn || e == encryptReq {
		return encryptOn
	}
	return encryptReq
}

// with returns a copy that says something else of TLS.
func (p prelogin) with(encryption byte) []byte {
	packet := bytes.Clone(p.packet)
	packet[p.at] = encryption
	return packet
}

// ownPrelogin makes a packet of our own: a version, and nothing that there is to know of an
// instance, a thread or of MARS.
func ownPrelogin(kind, encryption byte) []byte {
	values := [][]byte{
		tokenVersion:    {16, 0, 0x03, 0xe8, 0, 0}, // SQL Server 2022
		tokenEncryption: {encryption},
		tokenInstance:   {0},
		tokenThread:     {},
		tokenMARS:       {0},
	}
	heads, at := []byte{}, len(values)*optionSize+1
	for token, value := range values {
		heads = append(heads, byte(token))
		heads = binary.BigEndian.AppendUint16(heads, uint16(at))         //nolint:gosec // short
		heads = binary.BigEndian.AppendUint16(heads, uint16(len(value))) //nolint:gosec // short
		at += len(value)
	}
	return packet(kind, append(append(heads, tokenEnd), bytes.Join(values, nil)...))
}
