package vnc

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An inside filter joins a client in plaintext to a server that request has asked for TLS. Both sides have
// been greeted. The client is told of the security that the server has behind TLS, and what it chooses
// is known to the server already; or, if the server stays in plaintext, of the server's types. The server's
// next words wait until the client has chosen.
type inside struct {
	types []byte // for the client to choose from
	asked bool   // the server waits for that choice,
	heard bool   // and its greeting has been heard again

	stage stage // of the client: what it says next
}

// newInside makes one for the subtype that was chosen.
func newInside(subtype []byte) *inside {
	f := new(inside)
	if len(subtype) == subtypeSize {
		f.types = []byte{withoutTLS(binary.BigEndian.Uint32(subtype))}
	}
	return f
}

// Start implements dialogue.Filter.
func (f *inside) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter.
func (f *inside) FromClient(x *dialogue.Exchange, b []byte) int {
	switch f.stage {
	case stageVersion:
		return f.hearVersion(x, b)
	case stageTypes:
		return f.choose(x, b[0])
	case stageVeNCrypt:
		return f.hear(x, b, venCrypt, func() {
			f.stage = stageSubtypes
			x.ToClient(append([]byte{0}, subtypeList(subtypePlain)...))
		})
	}
	return f.hear(x, b, subtypeList(subtypePlain)[1:], x.Detach)
}

// hear takes what a client has no choice of.
func (f *inside) hear(x *dialogue.Exchange, b, want []byte, then func()) int {
	switch {
	case len(b) < len(want):
		return 0
	case !bytes.Equal(b[:len(want)], want):
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	then()
	return len(want)
}

// hearVersion takes the client's version. In one that is older than 3.8 what follows is another.
func (f *inside) hearVersion(x *dialogue.Exchange, b []byte) int {
	switch {
	case !beginsVersion(b):
		x.CloseFor(errNotRFB)
		return len(b)
	case len(b) < versionSize:
		return 0
	}
	minor, err := parseVersion(b[:versionSize])
	if err != nil {
		x.CloseFor(err)
		return len(b)
	}
	if minor < 8 {
		x.Close(noTypes(minor, "The upstream has RFB 3.8 alone"))
		return len(b)
	}
	f.stage = stageTypes
	x.ToClient(append([]byte{byte(len(f.types))}, f.types...)) //nolint:gosec // it was one octet
	return versionSize
}

// choose takes the client's choice.
func (f *inside) choose(x *dialogue.Exchange, choice byte) int {
	switch {
	case !slices.Contains(f.types, choice):
		x.CloseFor(dialogue.ErrMalformed)
	case f.asked:
		x.ToBackend([]byte{choice})
		x.Detach()
	case choice == typeVeNCrypt:
		f.stage = stageVeNCrypt
		x.ToClient(venCrypt)
	default:
		x.Detach()
	}
	return 1
}

// FromBackend implements dialogue.Filter.
func (f *inside) FromBackend(x *dialogue.Exchange, b []byte) int {
	if f.asked && !f.heard && len(b) >= versionSize {
		f.heard = true
		x.ToClient([]byte(version))
		return versionSize
	}
	if len(b) > maxMessage {
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	return 0
}

// ErrorReply words the end of a session.
func (f *inside) ErrorReply(why error) []byte {
	switch f.stage {
	case stageVeNCrypt:
		return refused
	case stageSubtypes:
		return nil
	case stageTypes:
		return securityFailed(reasonFor(why))
	}
	return noTypes(8, reasonFor(why))
}

// BackendEnded implements dialogue.BackendEnder.
func (f *inside) BackendEnded(x *dialogue.Exchange) { x.CloseFor(dialogue.ErrBackend) }
