package mysql

import (
	"bytes"
	"encoding/binary"
)

// challengeSize is how many octets a challenge has. A zero follows them.
const challengeSize = 20

// A greeting is the payload of a server's first packet, HandshakeV10.
type greeting struct {
	payload      []byte
	low, high    int // where the halves of its capabilities are
	capabilities uint32
	challenge    [challengeSize]byte
	plugin       string // for which the challenge is
}

// Where the fields of a greeting are, behind the server's version and its zero.
const (
	challengeAt      = 4
	capabilitiesAt   = 13
	moreCapabilities = 18
	moreChallengeAt  = 31
	pluginAt         = moreChallengeAt + 13
)

// parseGreeting reads the greeting of a server from this century: one with capabilities in
// four octets and a challenge of 20.
func parseGreeting(payload []byte) (g greeting, ok bool) {
	version := bytes.IndexByte(payload, 0)
	if len(payload) == 0 || payload[0] != 10 || version < 0 || len(payload) < version+1+pluginAt-1 {
		return g, false
	}
	at := version + 1
	g = greeting{payload: payload, low: at + capabilitiesAt, high: at + moreCapabilities, plugin: nativePassword}
	g.capabilities = uint32(binary.LittleEndian.Uint16(payload[g.low:])) | uint32(binary.LittleEndian.Uint16(payload[g.high:]))<<16
	n := copy(g.challenge[:], payload[at+challengeAt:at+challengeAt+8])
	copy(g.challenge[n:], payload[at+moreChallengeAt:])
	if g.capabilities&pluginAuth != 0 && len(payload) > at+pluginAt {
		name, _, _ := bytes.Cut(payload[at+pluginAt:], []byte{0})
		g.plugin = string(name)
	}
	return g, g.capabilities&protocol41 != 0 && g.capabilities&secureConnection != 0
}

// offering is the payload with TLS offered, or not.
func (g *greeting) offering(tls bool) []byte {
	p := bytes.Clone(g.payload)
	low := binary.LittleEndian.Uint16(p[g.low:]) &^ offersTLS
	if tls {
		low |= offersTLS
	}
	binary.LittleEndian.PutUint16(p[g.low:], low)
	return p
}

// ownGreeting makes the payload of a server that offers TLS.
func ownGreeting(version string, challenge [challengeSize]byte) []byte {
	const capabilities = longPassword | connectWithDB | protocol41 | offersTLS | transactions | secureConnection | pluginAuth
	const charset, autocommit = 45, 2 // utf8mb4_general_ci
	p := append([]byte{10}, version...)
	p = append(p, 0, 1, 0, 0, 0) // the number of the connection
	p = append(append(p, challenge[:8]...), 0)
	p = binary.LittleEndian.AppendUint16(p, capabilities&0xffff)
	p = append(p, charset, autocommit, 0)
	p = binary.LittleEndian.AppendUint16(p, capabilities>>16)
	p = append(append(p, challengeSize+1), make([]byte, 10)...)
	p = append(append(p, challenge[8:]...), 0)
	return append(append(p, nativePassword...), 0)
}
