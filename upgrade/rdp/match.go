package rdp

import (
	"encoding/binary"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// match accepts a Connection Request with an RDP_NEG_REQ that asks for something. caddy-l4's
// matcher rdp accepts one without it, too.
func match(prefix []byte) dialogue.Verdict {
	if v := matchHead(prefix); v != dialogue.Matched {
		return v
	}
	size := int(binary.BigEndian.Uint16(prefix[2:]))
	variable := prefix[pduHead:min(len(prefix), size)]
	if len(variable) == 0 {
		return dialogue.NeedMore
	}
	room := size - pduHead
	cookie, v := cookieSize(variable)
	if v == dialogue.NeedMore && len(variable) == room {
		return dialogue.NoMatch
	}
	if v != dialogue.Matched {
		return v
	}
	if room-cookie < negotiationSize {
		return dialogue.NoMatch
	}
	return matchNegotiation(variable[cookie:])
}

// matchHead is the verdict on the head of a PDU.
func matchHead(prefix []byte) dialogue.Verdict {
	padded := make([]byte, pduHead)
	n := copy(padded, prefix)
	size := int(binary.BigEndian.Uint16(padded[2:]))
	for i, fits := range []bool{
		padded[0] == tpktVersion, padded[1] == 0, padded[2] <= maxPDU>>8, size >= pduHead+negotiationSize && size <= maxPDU,
		size == tpktHead+1+int(padded[4]), padded[5] == codeRequest, padded[6] == 0, padded[7] == 0, true, true, padded[10] == 0,
	} {
		if i < n && !fits {
			return dialogue.NoMatch
		}
	}
	if n < pduHead {
		return dialogue.NeedMore
	}
	return dialogue.Matched
}

// matchNegotiation is the verdict on an RDP_NEG_REQ, whose flags are any.
func matchNegotiation(b []byte) dialogue.Verdict {
	for i, want := range []byte{negotiationRequest, 0, negotiationSize, 0} {
		if i < len(b) && i != 1 && b[i] != want {
			return dialogue.NoMatch
		}
	}
	switch {
	case len(b) < negotiationSize:
		return dialogue.NeedMore
	case binary.LittleEndian.Uint32(b[4:]) == 0:
		return dialogue.NoMatch
	}
	return dialogue.Matched
}
