package postgres

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func newFilter(s dialogue.Situation) dialogue.Filter {
	switch {
	case s.Upgraded, s.Backend == dialogue.Introduced:
		return new(postgresInside) // has been asked for TLS, and takes no second SSLRequest
	case !s.Cleartext:
		return postgresFirst{}
	case s.PlaintextAuth:
		return nil // Accept has read the first message, and nothing else is kept back
	}
	return new(postgresAuth)
}

// postgresFirst keeps a client inside TLS from wishing for encryption once more, which
// a backend that has TLS of its own would grant. It is out of the way when the first
// message has turned out to be none of that: behind it no server takes another.
type postgresFirst struct{}

// Start implements Filter.
func (postgresFirst) Start(*dialogue.Exchange) {}

// FromClient implements Filter. To a second wish the server says the same.
func (postgresFirst) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case len(b) < postgresFirstHead:
		return 0
	case postgresWish(b) == dialogue.Matched:
		x.Close(postgresError("0A000", "connection is already encrypted"))
	case !postgresStarts(b):
		x.CloseFor(dialogue.ErrMalformed)
	default:
		x.Detach()
		return 0
	}
	return len(b)
}

// FromBackend implements Filter.
func (postgresFirst) FromBackend(x *dialogue.Exchange, b []byte) int {
	x.ToClient(b)
	return len(b)
}

// postgresFirstHead is how much of a first message says what it is: length and code.
const postgresFirstHead = 4 + 4

// postgresWish is the verdict on what may become SSLRequest or GSSENCRequest. The server
// does not mind their length, as long as it takes a message of that length at all.
func postgresWish(b []byte) dialogue.Verdict {
	switch {
	case len(b) > 0 && b[0] != 0:
		return dialogue.NoMatch
	case len(b) < 4:
		return dialogue.NeedMore
	}
	return max(dialogue.MatchLiteral(b[4:], sslRequest[4:]), dialogue.MatchLiteral(b[4:], gssencRequest[4:]))
}

// postgresStarts reports whether a first message is a StartupMessage or a CancelRequest.
func postgresStarts(head []byte) bool {
	size, code := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	if code == postgresCancelRequest {
		return size >= minCancelRequest
	}
	return size >= postgresFirstHead && (code>>16 == 3 || code>>16 == 2)
}

// postgresAuth watches a client that stays in plaintext and may not send its password
// so: a backend that asks for it as it is does not get it. Nor does it get one unasked:
// behind the first message the client answers what the backend has asked, once each time.
// The filter is out of the way at AuthenticationOk, for until then a backend may ask again.
// What it does not know could be such a request, and ends the session.
type postgresAuth struct {
	started   bool  // the client's first message has come
	asked     bool  // the backend has asked, and has no answer yet
	toBackend int64 // of the client's present message
	toClient  int64 // of the backend's
	asks      bool  // which asks
}

// maxPostgresAuth bounds a message before AuthenticationOk, in octets. The longest are
// GSSAPI's tokens, of less than 64 KiB.
const maxPostgresAuth = 128 << 10

// What an Authentication message (R) says, of that which is known here.
const (
	postgresAuthOK   = 0
	postgresAuthSASL = 10
)

// postgresSASLFinal is what the client has no answer to.
const postgresSASLFinal = 12

// postgresSafe has the Authentication messages that ask for no password as it is: MD5,
// GSSAPI and SSPI, and what follows AuthenticationSASL. That one is looked at itself.
var postgresSafe = map[uint32]bool{5: true, 7: true, 8: true, 9: true, 11: true, postgresSASLFinal: true}

// Start implements Filter.
func (*postgresAuth) Start(*dialogue.Exchange) {}

// FromClient implements Filter.
func (f *postgresAuth) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.toBackend > 0:
		n := dialogue.CutRest(&f.toBackend, b)
		x.ToBackend(b[:n])
		return n
	case f.started && !f.asked:
		x.Hold()
		return 0
	case f.started && len(b) < postgresHead, !f.started && len(b) < postgresFirstHead:
		return 0
	}
	if f.toBackend = f.clientSize(b); f.toBackend == 0 {
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	f.started, f.asked = true, false
	return f.FromClient(x, b)
}

// clientSize is the size of the message that b begins with, or zero if there is none such.
func (f *postgresAuth) clientSize(b []byte) int64 {
	size, least := int64(binary.BigEndian.Uint32(b)), int64(postgresFirstHead)
	if f.started {
		size, least = 1+int64(binary.BigEndian.Uint32(b[1:])), postgresHead
	}
	if size < least || size > maxPostgresAuth || !f.started && !postgresStarts(b) {
		return 0
	}
	return size
}

// ask lets the client answer, once it has been asked to the end.
func (f *postgresAuth) ask(x *dialogue.Exchange) {
	if f.asks && f.toClient == 0 {
		f.asks, f.asked = false, true
		x.Release()
	}
}

// FromBackend implements Filter.
func (f *postgresAuth) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.toClient > 0:
		n := dialogue.CutRest(&f.toClient, b)
		x.ToClient(b[:n])
		f.ask(x)
		return n
	case len(b) < postgresHead:
		return 0
	}
	size := 1 + int64(binary.BigEndian.Uint32(b[1:]))
	sane := size >= postgresHead && size <= maxPostgresAuth
	switch {
	case b[0] == 'E' && !sane:
		return postgresLastWords(x, b)
	case sane && b[0] == 'R':
		return f.authentication(x, b, size)
	case sane && strings.IndexByte("ENv", b[0]) >= 0:
		f.toClient = size
		return f.FromBackend(x, b)
	}
	x.CloseFor(dialogue.ErrBackend)
	return len(b)
}

// postgresLastWords passes on an error of version 2, with which a server ends that
// cannot start a session at all, and ends the session for it.
func postgresLastWords(x *dialogue.Exchange, b []byte) int {
	end := bytes.IndexByte(b, 0)
	switch {
	case end < 0 && len(b) < dialogue.MaxFiltered:
		return 0
	case end < 0:
		x.CloseFor(dialogue.ErrBackend)
	default:
		x.Close(b[:end+1])
	}
	return len(b)
}

// authentication looks at a message of type R.
func (f *postgresAuth) authentication(x *dialogue.Exchange, b []byte, size int64) int {
	if len(b) < postgresHead+4 {
		return 0
	}
	switch code := binary.BigEndian.Uint32(b[postgresHead:]); {
	case size < postgresHead+4 || code == postgresAuthSASL && size > dialogue.MaxFiltered:
		x.CloseFor(dialogue.ErrBackend)
	case code == postgresAuthOK:
		x.Detach()
		return 0
	case code == postgresAuthSASL && int64(len(b)) < size:
		return 0
	case code == postgresAuthSASL:
		f.mechanisms(x, b[:size])
		return int(size)
	case postgresSafe[code]:
		f.asks, f.toClient = code != postgresSASLFinal, size
		return f.FromBackend(x, b)
	default:
		f.refuse(x)
	}
	return len(b)
}

// refuse ends the session of a client that would have to send its password, or has done so
// already, which the backend does not get.
func (f *postgresAuth) refuse(x *dialogue.Exchange) {
	if x.HasFromClient() {
		x.RefusedLogin()
	}
	x.Close(postgresError("28000", postgresNeedsTLS))
}

const postgresNeedsTLS = "password authentication requires TLS"

// mechanisms passes on the list in an AuthenticationSASL, but for mechanisms that send
// what a password is as good as: OAUTHBEARER's token, for one. SCRAM does not.
func (f *postgresAuth) mechanisms(x *dialogue.Exchange, message []byte) {
	isSCRAM := func(name string) bool { return strings.HasPrefix(name, "SCRAM-") }
	kept, some := postgresMechanisms(message, isSCRAM)
	if !some {
		f.refuse(x)
		return
	}
	x.ToClient(kept)
	f.asks = true
	f.ask(x)
}
