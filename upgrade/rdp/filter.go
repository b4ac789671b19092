package rdp

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func newFilter(s dialogue.Situation) dialogue.Filter {
	switch {
	case s.Upgraded, s.Backend == dialogue.Introduced:
		return &inside{confirm: s.Kept}
	case s.Cleartext:
		return plain{}
	case len(s.Kept) < protocolsSize: // TLS was there from the beginning
		return new(filter)
	}
	return &filter{answered: true, requested: binary.LittleEndian.Uint32(s.Kept), request: s.Kept[protocolsSize:]}
}

// plain is for a client whose request passes as it is, with all that follows.
type plain struct{}

// Start implements Filter.
func (plain) Start(*dialogue.Exchange) {}

// FromClient implements Filter.
func (plain) FromClient(x *dialogue.Exchange, b []byte) int {
	x.ToBackend(b)
	return len(b)
}

// FromBackend implements Filter.
func (plain) FromBackend(x *dialogue.Exchange, _ []byte) int {
	x.Detach()
	return 0
}

// ErrorReply is for a client that waits for a confirm.
func (plain) ErrorReply(why error) []byte { return unconfirmed(why) }

// unconfirmed is what a client gets to hear in place of a confirm.
func unconfirmed(why error) []byte {
	if errors.Is(why, dialogue.ErrBackend) {
		return disconnect(reasonNotSpecified)
	}
	return errorReply(nil, why)
}

// A filter makes a client on TLS look like one that did not negotiate. The backend gets the
// client's request, with its cookie or routing token and without the negotiation; its confirm
// is kept from a client who has one. The rest of the session passes as it is, but for the
// protocols that the client has asked for: see echo.
type filter struct {
	answered  bool   // the client has had a confirm
	request   []byte // what the backend has got
	requested uint32
	confirmed bool // by the backend
}

// Start implements Filter.
func (f *filter) Start(x *dialogue.Exchange) {
	if f.answered {
		x.ToBackend(f.request)
		x.Hold()
	}
}

// FromClient implements Filter. What a client wishes for inside TLS is not passed on: it is
// there already.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	if f.request != nil {
		x.ToBackend(b)
		return len(b)
	}
	return takeRequest(x, b, func(r connectionRequest) {
		f.request, f.requested = r.routed, r.protocols
		x.ToBackend(r.routed)
	})
}

// FromBackend implements Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	if f.confirmed {
		size := echo(x, b, f.requested)
		if encrypts(b[:size]) {
			x.Warn("the backend encrypts RDP by itself, which a client on TLS does not do a second time: turn that off, in xrdp with crypt_level=none")
		}
		return size
	}
	size, err := cutPDU(b)
	if err == nil && size == 0 {
		return 0
	}
	var c connectionConfirm
	if err == nil && f.request != nil {
		c, err = parseConfirm(b[:size])
	}
	switch {
	case err != nil, f.request == nil, c.disconnect:
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case c.failure != 0, c.selected != 0:
		x.Warn("the backend takes no RDP client without TLS or CredSSP: have it accept standard RDP security, or put starttls_upstream in front of it")
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	if !f.answered {
		x.ToClient(withLengths(b[:pduHead]))
	}
	f.confirmed = true
	x.Release()
	return size
}

// ErrorReply words the end of a session.
func (f *filter) ErrorReply(why error) []byte {
	if f.answered || f.confirmed {
		return errorReply(nil, why)
	}
	return unconfirmed(why)
}

// cutPDU returns the size of the PDU that b begins with, or 0 if more of it must arrive.
func cutPDU(b []byte) (int, error) {
	if len(b) <= tpktHead {
		return 0, nil
	}
	size, err := pduSize(b)
	if err == nil && len(b) < size {
		size = 0
	}
	return size, err
}

// takeRequest has a client's connection request taken, once it has all come, and returns how
// much of b is done with. What is none ends the session.
func takeRequest(x *dialogue.Exchange, b []byte, take func(connectionRequest)) int {
	r, size, err := cutRequest(b)
	switch {
	case err != nil:
		x.CloseFor(err)
		return len(b)
	case size > 0:
		take(r)
	}
	return size
}

// cutRequest is cutPDU for a Connection Request.
func cutRequest(b []byte) (r connectionRequest, size int, err error) {
	if size, err = cutPDU(b); err == nil && size > 0 {
		r, err = parseRequest(b[:size])
	}
	return r, size, err
}

// inside makes a server that has been upgraded, or has not, look like one without TLS. It has
// had a request of ours, so that the client's is answered here.
type inside struct {
	confirm   []byte
	requested uint32
	confirmed bool
}

// Start implements Filter.
func (*inside) Start(*dialogue.Exchange) {}

// FromClient implements Filter.
func (f *inside) FromClient(x *dialogue.Exchange, b []byte) int {
	if f.confirmed {
		x.ToBackend(b)
		return len(b)
	}
	return takeRequest(x, b, func(r connectionRequest) {
		f.requested, f.confirmed = r.protocols, true
		x.ToClient(f.confirm)
	})
}

// ErrorReply words the end of a session.
func (f *inside) ErrorReply(why error) []byte {
	if f.confirmed {
		return errorReply(nil, why)
	}
	return unconfirmed(why)
}

// FromBackend implements Filter. A server does not speak first inside TLS.
func (f *inside) FromBackend(x *dialogue.Exchange, b []byte) int {
	if !f.confirmed {
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	return echo(x, b, f.requested)
}

// echo passes on the server's first message, the MCS Connect-Response, in which it repeats the
// protocols that were asked for, and detaches. Microsoft's client compares them with those
// that it has sent, to notice a downgrade (MS-RDPBCGR section 2.2.1.4.2), and the server has
// not seen those. A message without them passes as it is: it is the client that minds.
func echo(x *dialogue.Exchange, b []byte, requested uint32) int {
	if len(b) < tpktHead {
		return 0
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] != tpktVersion || size < tpktHead || size > dialogue.MaxFiltered:
		x.Detach()
		return 0
	case len(b) < size:
		return 0
	}
	x.ToClient(withRequested(b[:size], requested))
	x.Detach()
	return size
}

// The server's blocks of data (MS-RDPBCGR section 2.2.1.4) are behind the key "McDn" of T.124
// and the length of all: type, length, and what the type has.
const (
	userDataKey = "McDn"
	blockHead   = 4

	coreData      = 0x0c01 // version, protocols
	protocolsAt   = 8
	coreDataLeast = 12

	securityData      = 0x0c02 // method of encryption, level
	methodAt          = 4
	securityDataLeast = 12
)

// block finds a block in the server's first message. Nil: there is none, or it is too short.
func block(message []byte, kind uint16, least int) []byte {
	_, blocks, found := bytes.Cut(message, []byte(userDataKey))
	if !found || len(blocks) == 0 {
		return nil
	}
	blocks = blocks[min(len(blocks), 1+int(blocks[0]>>7)):] // the length has one octet or two
	for len(blocks) >= blockHead {
		size := int(binary.LittleEndian.Uint16(blocks[2:]))
		switch {
		case size < blockHead || size > len(blocks):
			return nil
		case binary.LittleEndian.Uint16(blocks) != kind:
			blocks = blocks[size:]
		case size < least:
			return nil
		default:
			return blocks[:size]
		}
	}
	return nil
}

// withRequested returns a copy of the message with other protocols in its core data.
func withRequested(message []byte, requested uint32) []byte {
	edited := bytes.Clone(message)
	if core := block(edited, coreData, coreDataLeast); core != nil {
		binary.LittleEndian.PutUint32(core[protocolsAt:], requested)
	}
	return edited
}

// encrypts reports whether a message has chosen one of the methods of standard RDP security.
func encrypts(message []byte) bool {
	security := block(message, securityData, securityDataLeast)
	return security != nil && binary.LittleEndian.Uint32(security[methodAt:]) != 0
}
