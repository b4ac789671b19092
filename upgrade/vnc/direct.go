package vnc

import (
	"bytes"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A direct filter is for a client that began with TLS. The server's greeting is passed on, and its security
// types without VeNCrypt: there is TLS already. It leaves when the client has chosen.
type direct struct {
	stage  stage  // of the server
	server int    // the minor version of it
	minor  int    // the client's, or 0
	types  []byte // that the client may choose from
}

// Start implements dialogue.Filter.
func (f *direct) Start(x *dialogue.Exchange) { x.Hold() }

// FromClient implements dialogue.Filter.
func (f *direct) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.minor > 0:
		return f.choose(x, b[0])
	case !beginsVersion(b):
		x.CloseFor(errNotRFB)
		return len(b)
	case len(b) < versionSize:
		return 0
	}
	minor, err := parseVersion(b[:versionSize])
	if err == nil && minor > f.server {
		err = dialogue.ErrMalformed
	}
	if err != nil {
		x.CloseFor(err)
		return len(b)
	}
	f.minor = minor
	x.ToBackend(versionOf(minor))
	if minor < 7 {
		x.Detach()
	} else {
		x.Hold()
	}
	return versionSize
}

// choose takes the client's choice.
func (f *direct) choose(x *dialogue.Exchange, choice byte) int {
	if !slices.Contains(f.types, choice) {
		x.CloseFor(dialogue.ErrMalformed)
		return 1
	}
	x.ToBackend([]byte{choice})
	x.Detach()
	return 1
}

// FromBackend implements dialogue.Filter.
func (f *direct) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.stage == stageTypes:
		return f.hearTypes(x, b)
	case f.stage > stageTypes || !beginsVersion(b): // it would speak out of turn
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case len(b) < versionSize:
		return 0
	}
	minor, err := parseVersion(b[:versionSize])
	if err != nil {
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	f.stage, f.server = stageTypes, minor
	x.ToClient(versionOf(minor))
	x.Release()
	return versionSize
}

// hearTypes takes the server's security types.
func (f *direct) hearTypes(x *dialogue.Exchange, b []byte) int {
	list, size := cutList(b, 1)
	switch {
	case f.minor == 0: // it would speak out of turn
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case size == 0:
		return 0
	case len(list) == 0: // and the reason
		x.Refused()
		x.Detach()
		return 0
	}
	types := bytes.ReplaceAll(list, []byte{typeVeNCrypt}, nil)
	if len(types) == 0 {
		x.Warn("the backend has VeNCrypt alone: have it accept None or VncAuth, or put starttls_upstream in front of it")
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	f.stage, f.types = stageVeNCrypt, types                // there is none
	x.ToClient(append([]byte{byte(len(types))}, types...)) //nolint:gosec // it was one octet
	x.Release()
	return size
}

// ErrorReply words the end of a session.
func (f *direct) ErrorReply(why error) []byte {
	switch {
	case f.minor == 0:
		return nil
	case f.types != nil:
		return securityFailed(reasonFor(why))
	}
	return noTypes(f.minor, reasonFor(why))
}

// BackendEnded implements dialogue.BackendEnder.
func (f *direct) BackendEnded(x *dialogue.Exchange) { x.CloseFor(dialogue.ErrBackend) }
