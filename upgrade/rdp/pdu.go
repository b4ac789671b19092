package rdp

import (
	"bytes"
	"encoding/binary"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A PDU of the connection phase is a TPKT header (RFC 1006 section 6: version, reserved,
// length of all) and an X.224 TPDU of class 0: the length of what follows in it, code,
// DST-REF, SRC-REF, and the class or the reason. Behind that is the variable part.
const (
	tpktVersion = 3
	tpktHead    = 4
	pduHead     = tpktHead + 7

	// maxPDU is set by X.224: the length of a TPDU's header is 254 at the most.
	maxPDU = tpktHead + 1 + 254
)

// protocolsSize is that of the protocols in front of what is kept, which has no negotiation.
const protocolsSize = 4

// Codes of TPDUs.
const (
	codeRequest    = 0xe0
	codeConfirm    = 0xd0
	codeDisconnect = 0x80
)

// Reasons of a Disconnect Request that class 0 has (X.224 section 13.5.3).
const (
	reasonNotSpecified = 0
	reasonCongestion   = 1
)

// Structures of the negotiation (MS-RDPBCGR sections 2.2.1.1.1, 2.2.1.1.2 and 2.2.1.2.1, 2.2.1.2.2).
const (
	negotiationRequest  = 1
	negotiationResponse = 2
	negotiationFailure  = 3
	negotiationSize     = 8

	correlationInfo        = 6
	correlationInfoSize    = 36
	correlationInfoPresent = 8 // a flag of RDP_NEG_REQ
)

// protocolSSL is TLS. The others are kinds of CredSSP and RDSTLS; 0 is none.
const protocolSSL = 1

// Failure codes.
const (
	failureSSLRequired   = 1 // to a client of CredSSP alone it says that there is TLS only
	failureNoCertificate = 3
)

// pduSize is the size of the PDU that head begins with, which has both lengths.
func pduSize(head []byte) (int, error) {
	size := int(binary.BigEndian.Uint16(head[2:]))
	switch {
	case head[0] != tpktVersion || head[1] != 0:
		return 0, dialogue.ErrMalformed
	case size > maxPDU:
		return 0, dialogue.ErrLineTooLong
	case size < pduHead || size != tpktHead+1+int(head[tpktHead]):
		return 0, dialogue.ErrMalformed
	}
	return size, nil
}

// withLengths sets the lengths of a PDU, of which it returns a copy.
func withLengths(pdu []byte) []byte {
	pdu = bytes.Clone(pdu)
	binary.BigEndian.PutUint16(pdu[2:], uint16(len(pdu))) //nolint:gosec // no more than maxPDU
	pdu[tpktHead] = byte(len(pdu) - tpktHead - 1)         //nolint:gosec // as above
	return pdu
}

// A connectionRequest is a Connection Request.
type connectionRequest struct {
	routed    []byte // all of it but for the negotiation
	protocols uint32 // 0 if it does not negotiate
}

// parseRequest takes a whole Connection Request apart. What is not understood is malformed:
// the rest of it goes to a backend.
func parseRequest(pdu []byte) (r connectionRequest, err error) {
	if !isRequest(pdu) {
		return r, dialogue.ErrMalformed
	}
	cookie, v := cookieSize(pdu[pduHead:])
	if v != dialogue.Matched {
		return r, dialogue.ErrMalformed
	}
	r.routed = withLengths(pdu[:pduHead+cookie])
	rest := pdu[pduHead+cookie:]
	switch {
	case len(rest) == 0:
		return r, nil
	case len(rest) < negotiationSize || !isNegotiation(rest, negotiationRequest):
		return r, dialogue.ErrMalformed
	}
	r.protocols = binary.LittleEndian.Uint32(rest[4:])
	if hasCorrelationInfo := rest[1]&correlationInfoPresent != 0; !isCorrelationInfo(rest[negotiationSize:], hasCorrelationInfo) {
		return r, dialogue.ErrMalformed
	}
	return r, nil
}

// isRequest reports whether the head of a PDU is that of a Connection Request: to no
// reference yet, from any, of class 0 without options.
func isRequest(pdu []byte) bool {
	return pdu[5] == codeRequest && pdu[6] == 0 && pdu[7] == 0 && pdu[10] == 0
}

// cookieSize finds the end of a cookie or a routing token, which are text up to a CRLF; they
// may be missing. A control character in it could be something else to a backend that looks
// for the negotiation by itself.
func cookieSize(variable []byte) (int, dialogue.Verdict) {
	if len(variable) == 0 || variable[0] == negotiationRequest {
		return 0, dialogue.Matched
	}
	for i, c := range variable {
		switch {
		case i > 0 && variable[i-1] == '\r':
			if c != '\n' {
				return 0, dialogue.NoMatch
			}
			return i + 1, dialogue.Matched
		case c != '\r' && (c < ' ' || c == 0x7f):
			return 0, dialogue.NoMatch
		}
	}
	return 0, dialogue.NeedMore
}

// isNegotiation reports whether b, of negotiationSize or more, begins with such a structure.
func isNegotiation(b []byte, kind byte) bool {
	return b[0] == kind && binary.LittleEndian.Uint16(b[2:]) == negotiationSize
}

// isCorrelationInfo reports whether b is an RDP_NEG_CORRELATION_INFO, or nothing where none is
// announced.
func isCorrelationInfo(b []byte, announced bool) bool {
	if !announced {
		return len(b) == 0
	}
	return len(b) == correlationInfoSize && b[0] == correlationInfo && binary.LittleEndian.Uint16(b[2:]) == correlationInfoSize
}

// kept is what the filter needs: which protocols the client has asked for, and behind that the
// request for the backend.
func (r connectionRequest) kept() []byte {
	return append(binary.LittleEndian.AppendUint32(nil, r.protocols), r.routed...)
}

// A connectionConfirm is what a server answers to a Connection Request.
type connectionConfirm struct {
	disconnect bool // it is a Disconnect Request
	selected   uint32
	failure    uint32 // 0 if there is none
}

// parseConfirm takes such an answer apart, which is a whole PDU.
func parseConfirm(pdu []byte) (c connectionConfirm, err error) {
	rest := pdu[pduHead:]
	switch {
	case pdu[5] == codeDisconnect:
		c.disconnect = true
	case pdu[5] != codeConfirm:
		return c, dialogue.ErrMalformed
	case len(rest) == 0:
	case len(rest) != negotiationSize:
		return c, dialogue.ErrMalformed
	case isNegotiation(rest, negotiationResponse):
		c.selected = binary.LittleEndian.Uint32(rest[4:])
	case isNegotiation(rest, negotiationFailure):
		if c.failure = binary.LittleEndian.Uint32(rest[4:]); c.failure == 0 {
			return c, dialogue.ErrMalformed
		}
	default:
		return c, dialogue.ErrMalformed
	}
	return c, nil
}
