package vnc

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func newFilter(s dialogue.Situation) dialogue.Filter {
	switch {
	case s.Upgraded:
		return newInside(s.Kept)
	case s.Backend == dialogue.Introduced && len(s.Kept) == 0: // of a version that has no list of types
		return nil
	case s.Backend == dialogue.Introduced:
		return &inside{types: s.Kept, asked: true}
	case s.ImplicitTLS:
		return new(direct)
	case s.Cleartext:
		return new(filter)
	case len(s.Kept) != subtypeSize: // which cannot be
		return &filter{chosen: true}
	}
	return &filter{secure: true, chosen: true, security: withoutTLS(binary.BigEndian.Uint32(s.Kept))}
}

// A filter joins a client that has chosen its security to a server that has not been heard yet. It
// negotiates the same with the server, and leaves when that is chosen: what comes next is the same
// for both. The client's bytes wait that long.
type filter struct {
	secure   bool // the client is on TLS
	chosen   bool // the client's choice is known
	old      bool // it is RFB 3.3, in which the server chooses
	security byte // the client's type, without TLS

	stage stage // of the server
}

// A stage is what comes next from a server.
type stage int

const (
	stageVersion stage = iota
	stageTypes
	stageVeNCrypt
	stageAnswer
	stageSubtypes
)

// Start implements dialogue.Filter.
func (f *filter) Start(x *dialogue.Exchange) {
	if f.chosen {
		x.Hold()
		return
	}
	x.Await()
}

// FromClient implements dialogue.Filter. A client in plaintext has its choice still to come: its type, or
// its old version.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	size := 1
	if b[0] == version[0] {
		size, f.old = versionSize, true
	}
	if len(b) < size {
		return 0
	}
	f.chosen, f.security = true, b[0]
	x.Hold()
	if f.stage > stageVersion {
		f.answerVersion(x)
	}
	return size
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch f.stage {
	case stageVersion:
		return f.hearVersion(x, b)
	case stageTypes:
		return f.hearTypes(x, b)
	case stageVeNCrypt:
		if len(b) < len(venCrypt) {
			return 0
		}
		if b[0] == 0 && b[1] < venCrypt[1] {
			return f.refuse(x, b, "the backend has another version of VeNCrypt")
		}
		f.stage = stageAnswer
		x.ToBackend(venCrypt)
		return len(venCrypt)
	case stageAnswer:
		if b[0] != 0 {
			return f.refuse(x, b, "the backend has another version of VeNCrypt")
		}
		f.stage = stageSubtypes
		return 1
	}
	list, size := cutList(b, subtypeSize)
	switch {
	case size == 0:
		return 0
	case !hasSubtype(list, subtypePlain):
		return f.refuse(x, b, "the backend does not take a user and a password in plaintext: add Plain to its security types, or have security_types without X509Plain")
	}
	x.ToBackend(binary.BigEndian.AppendUint32(nil, subtypePlain))
	x.Detach()
	return size
}

// hearVersion takes the server's version.
func (f *filter) hearVersion(x *dialogue.Exchange, b []byte) int {
	switch {
	case !beginsVersion(b):
		return f.refuse(x, b, "the backend does not speak RFB")
	case len(b) < versionSize:
		return 0
	}
	minor, err := parseVersion(b[:versionSize])
	if err != nil || minor < 8 && !f.old {
		return f.refuse(x, b, fmt.Sprintf("the backend speaks %q, and must speak RFB 3.8", b[4:versionSize-1]))
	}
	f.stage = stageTypes
	if f.chosen {
		f.answerVersion(x)
	}
	return versionSize
}

// answerVersion answers the server's version once both are known.
func (f *filter) answerVersion(x *dialogue.Exchange) {
	if f.old {
		x.ToBackend([]byte("RFB 003.003\n"))
		x.Detach()
		return
	}
	x.ToBackend([]byte(version))
}

// hearTypes takes the server's security types, and chooses the client's.
func (f *filter) hearTypes(x *dialogue.Exchange, b []byte) int {
	list, size := cutList(b, 1)
	switch {
	case size == 0:
		return 0
	case !f.chosen: // nobody has said a version
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case len(list) == 0:
		return f.hearReason(x, b)
	case !slices.Contains(list, f.security):
		return f.refuse(x, b, fmt.Sprintf("the backend has security types %d without TLS, and not %d, which security_types has for its clients", list, f.security))
	}
	x.ToBackend([]byte{f.security})
	if f.security != typeVeNCrypt {
		x.Detach()
		return size
	}
	f.stage = stageVeNCrypt
	return size
}

// hearReason passes on why the server refuses the connection, such as after too many failed logins.
func (f *filter) hearReason(x *dialogue.Exchange, b []byte) int {
	const head = 1 + lengthSize
	if len(b) < head {
		return 0
	}
	size := int64(binary.BigEndian.Uint32(b[1:]))
	switch {
	case size > maxMessage:
		x.CloseFor(dialogue.ErrBackend)
	case int64(len(b)) < head+size:
		return 0
	default:
		x.Refused()
		x.Close(f.failure(string(b[head : head+size])))
	}
	return len(b)
}

// refuse ends the session for something that an administrator should change.
func (f *filter) refuse(x *dialogue.Exchange, b []byte, warning string) int {
	x.Warn(warning)
	x.CloseFor(dialogue.ErrBackend)
	return len(b)
}

// failure words the end of the session for the client's choice. In plaintext there is no challenge in vain:
// its answer would tell the password to whoever has all answers to this one.
func (f *filter) failure(reason string) []byte {
	switch {
	case !f.chosen:
		return nil
	case f.old:
		return noTypes(3, reason)
	case f.security != typeVncAuth:
		return securityFailed(reason)
	case f.secure:
		return challengedInVain(reason)
	}
	return nil
}

// ErrorReply words the end of a session.
func (f *filter) ErrorReply(why error) []byte { return f.failure(reasonFor(why)) }

// BackendEnded implements dialogue.BackendEnder.
func (f *filter) BackendEnded(x *dialogue.Exchange) { x.CloseFor(dialogue.ErrBackend) }
