package amqp

import (
	"encoding/binary"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxFrame bounds a frame of the SASL layer, in octets, and the first one behind it. The standard
// has 512 for both (part 5 section 5.3.1, part 2 section 2.4.1), which tokens exceed.
const maxFrame = 64 << 10

// A filter keeps the header of the TLS layer from a backend that may have one of its own: as
// the first header, behind the SASL layer, and in place of the first frame behind the header that
// has no layer. It is out of the way when that frame has begun, and the backend has answered the
// first header.
//
// It is the same for a client inside TLS, for one that stays in plaintext, and for the client
// of a server that has been upgraded: they all begin with a header.
type filter struct {
	first string // the client's first header; empty: it is to come
	last  bool   // the client has sent a header that is the last one
	begun bool   // the client's first frame behind the last header has begun
	rest  int64  // of the client's present frame in the SASL layer
	heard bool   // the backend has answered the first header

	noLogin bool // the client may not log in
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	return &filter{noLogin: s.Cleartext && !s.PlaintextAuth}
}

// Start implements dialogue.Filter.
func (*filter) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.begun:
		x.ToBackend(b)
		return len(b)
	case f.rest > 0:
		n := dialogue.CutRest(&f.rest, b)
		x.ToBackend(b[:n])
		return n
	case f.last || b[0] != magic[0] && f.first != "":
		return f.frame(x, b)
	case !beginsHeader(b):
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	case len(b) < headerSize:
		return 0
	}
	return f.header(x, b)
}

// header takes a header of the client's. In the SASL layer, one without a layer must follow.
func (f *filter) header(x *dialogue.Exchange, b []byte) int {
	h := string(b[:headerSize])
	switch {
	case f.first == "" && (h == bareHeader || logsIn(h) && !f.noLogin):
		f.first = h
		f.last = h != saslHeader
	case f.first != "" && h == bareHeader:
		f.last = true
	default:
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	x.ToBackend(b[:headerSize])
	if isOld(h) { // a backend's answer is no header
		x.Detach()
	}
	return headerSize
}

// frame takes the head of a frame in the SASL layer, or of the first one behind the last header. The
// size of none begins as a header does: it would be more than a gigabyte.
func (f *filter) frame(x *dialogue.Exchange, b []byte) int {
	if len(b) < frameHead {
		return 0
	}
	kind := byte(frameSASL)
	if f.last {
		kind = frameAMQP
	}
	size, offset := int64(binary.BigEndian.Uint32(b)), int64(b[4])*4
	if size > maxFrame || offset < frameHead || offset > size || b[5] != kind {
		x.Close(nil) // in the middle of a layer, no header may be said
		return len(b)
	}
	if f.last {
		return f.begin(x, b)
	}
	f.rest = size
	return f.FromClient(x, b)
}

// begin takes the head of the first frame behind the last header. The standard has frames alone
// from there on (part 2 section 2.2).
func (f *filter) begin(x *dialogue.Exchange, b []byte) int {
	f.begun = true
	x.ToBackend(b[:frameHead])
	if f.heard {
		x.Detach()
	}
	return frameHead
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.heard:
		x.ToClient(b)
		return len(b)
	case !beginsHeader(b):
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case len(b) < headerSize:
		return 0
	}
	h := string(b[:headerSize])
	switch {
	case h == tlsHeader:
		x.Warn("the backend takes no connection without TLS: put starttls_upstream between, or configure the backend")
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case h != f.first: // it does not take the client's, and ends
		x.Refused()
	}
	f.heard = true
	x.ToClient(b[:headerSize])
	if f.begun {
		x.Detach()
	}
	return headerSize
}

// BackendEnded implements dialogue.BackendEnder.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if !f.heard {
		x.CloseFor(dialogue.ErrBackend)
	}
}

// ErrorReply words the end of a session. A header that is not taken is answered with one that
// is: SASL's at first, and behind the SASL layer, or where nobody may log in, the one without a
// layer.
func (f *filter) ErrorReply(why error) []byte {
	switch {
	case errors.Is(why, dialogue.ErrMalformed) && (f.first != "" || f.noLogin):
		return []byte(bareHeader)
	case errors.Is(why, dialogue.ErrMalformed):
		return []byte(saslHeader)
	case errors.Is(why, dialogue.ErrBackend) && !f.heard && f.first != "":
		return unavailable(f.first, why)
	case errors.Is(why, dialogue.ErrBackend) && !f.heard:
		return errorReply(nil, why)
	}
	return nil
}

// beginsHeader reports whether b is the beginning of a header, or of more.
func beginsHeader(b []byte) bool { return dialogue.MatchLiteral(b, []byte(magic)) != dialogue.NoMatch }
