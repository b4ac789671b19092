package amqp

import (
	"encoding/binary"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// The types of a frame (part 2 section 2.3.1, part 5 section 5.3.1).
const (
	frameAMQP = 0
	frameSASL = 1

	frameHead = 8 // its size, the offset of its data, its type, its channel
	dataAt    = 2 // the offset of its data, in words of four octets
)

// The descriptors of what is said here, and codes of the encodings (part 1 section 1.6).
const (
	descriptorOpen    = 0x10
	descriptorClose   = 0x18
	descriptorError   = 0x1d
	descriptorOutcome = 0x44

	codeDescribed  = 0x00
	codeUbyte      = 0x50
	codeSmallUlong = 0x53
	codeString     = 0xa1
	codeSymbol     = 0xa3
	codeList       = 0xc0
)

// outcomeTemporary is the code of a login that fails for a transient reason of the system's
// (part 5 section 5.3.3.6).
const outcomeTemporary = 4

// Conditions of a connection that is closed for an error (part 2 section 2.8.15 and 2.8.16).
const (
	conditionForced = "amqp:connection:forced"
	conditionLimit  = "amqp:resource-limit-exceeded"
)

// closed opens a connection without a layer and closes it again, which is how AMQP tells why
// there is none (part 2 section 2.4.3).
func closed(condition, text string) []byte {
	reason := list(descriptorError, value(codeSymbol, condition), value(codeString, text))
	opened := frame(frameAMQP, list(descriptorOpen, value(codeString, "unavailable")))
	return append(append([]byte(bareHeader), opened...), frame(frameAMQP, list(descriptorClose, reason))...)
}

// unavailable tells a client that has begun with the given header that there is no backend for
// it: its login fails, or its connection is closed with the reason. The TLS layer is not offered where this is said, but SASL is.
func unavailable(header string, why error) []byte {
	switch {
	case isOld(header):
		return nil
	case header == saslHeader:
		return append([]byte(saslHeader), frame(frameSASL, list(descriptorOutcome, []byte{codeUbyte, outcomeTemporary}))...)
	case header != bareHeader:
		return []byte(saslHeader)
	}
	return closed(conditionForced, dialogue.UnavailableText(why, "Backend not available"))
}

// frame puts a frame around its data, on channel 0.
func frame(kind byte, data []byte) []byte {
	f := binary.BigEndian.AppendUint32(nil, uint32(frameHead+len(data))) //nolint:gosec // short
	return append(append(f, dataAt, kind, 0, 0), data...)
}

// list makes a described list of up to 255 octets.
func list(descriptor byte, fields ...[]byte) []byte {
	var all []byte
	for _, f := range fields {
		all = append(all, f...)
	}
	return append([]byte{codeDescribed, codeSmallUlong, descriptor, codeList, byte(1 + len(all)), byte(len(fields))}, all...) //nolint:gosec // short
}

// value makes a string or a symbol of up to 255 octets.
func value(code byte, text string) []byte {
	return append([]byte{code, byte(len(text))}, text...) //nolint:gosec // short
}
