package upgrade

import (
	"bytes"
	"encoding/binary"
	"strings"
)

func newPostgresRejoin(s *Session) Filter {
	switch {
	case !s.Plain():
		return postgresFirst{}
	case s.PlaintextAuth():
		return nil // Accept has read the first message, and nothing else is kept back
	}
	return new(postgresAuth)
}

// postgresFirst keeps a client inside TLS from wishing for encryption once more, which
// a backend that has TLS of its own would grant. It is out of the way when the first
// message has turned out to be none of that: behind it no server takes another.
type postgresFirst struct{}

// Start implements Filter.
func (postgresFirst) Start(*Exchange) {}

// FromClient implements Filter. To a second wish the server says the same.
func (postgresFirst) FromClient(x *Exchange, b []byte) int {
	switch {
	case len(b) < postgresFirstHead:
		return 0
	case postgresWishes(b):
		x.End(postgresError("0A000", "connection is already encrypted"))
	case !postgresStarts(b):
		x.EndFor(ErrMalformed)
	default:
		x.Done()
		return 0
	}
	return len(b)
}

// FromBackend implements Filter.
func (postgresFirst) FromBackend(x *Exchange, b []byte) int {
	x.ToClient(b)
	return len(b)
}

// postgresFirstHead is how much of a first message says what it is: length and code.
const postgresFirstHead = 4 + 4

// postgresWishes reports whether a first message is SSLRequest or GSSENCRequest. The
// server does not mind their length, so it does not matter here.
func postgresWishes(head []byte) bool {
	code := binary.BigEndian.Uint32(head[4:])
	return code == postgresSSLRequest || code == postgresGSSENCRequest
}

// postgresStarts reports whether a first message is a StartupMessage or CancelRequest.
func postgresStarts(head []byte) bool {
	size, code := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
	if code == postgresCancelRequest {
		return size >= 16
	}
	return size >= postgresFirstHead && (code>>16 == 3 || code>>16 == 2)
}

// postgresAuth watches a client that goes on in clear and may not send its password
// so: a backend that asks for it as it is does not get it. It is out of the way at
// AuthenticationOk, for until then a backend may ask again. What it does not know
// could be such a request, and ends the session.
type postgresAuth struct {
	toClient int64 // of the present message
}

// maxPostgresAuth bounds a message before AuthenticationOk, in octets. The longest are
// GSSAPI's tokens, of less than 64 KiB.
const maxPostgresAuth = 128 << 10

// What an Authentication message (R) says, of that which is known here.
const (
	postgresAuthOK   = 0
	postgresAuthSASL = 10
)

// postgresSafe has the Authentication messages that ask for no password as it is: MD5,
// GSSAPI and SSPI, and what follows AuthenticationSASL. That one is looked at itself.
var postgresSafe = map[uint32]bool{5: true, 7: true, 8: true, 9: true, 11: true, 12: true}

// Start implements Filter.
func (*postgresAuth) Start(*Exchange) {}

// FromClient implements Filter.
func (*postgresAuth) FromClient(x *Exchange, b []byte) int {
	x.ToBackend(b)
	return len(b)
}

// FromBackend implements Filter.
func (f *postgresAuth) FromBackend(x *Exchange, b []byte) int {
	switch {
	case f.toClient > 0:
		n := cutRest(&f.toClient, b)
		x.ToClient(b[:n])
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
	x.EndFor(ErrBackend)
	return len(b)
}

// postgresLastWords passes on an error of version 2, with which a server ends that
// cannot start a session at all, and ends the session for it.
func postgresLastWords(x *Exchange, b []byte) int {
	end := bytes.IndexByte(b, 0)
	switch {
	case end < 0 && len(b) < maxFilterLine:
		return 0
	case end < 0:
		x.EndFor(ErrBackend)
	default:
		x.End(b[:end+1])
	}
	return len(b)
}

// authentication looks at a message of type R.
func (f *postgresAuth) authentication(x *Exchange, b []byte, size int64) int {
	if len(b) < postgresHead+4 {
		return 0
	}
	switch code := binary.BigEndian.Uint32(b[postgresHead:]); {
	case size < postgresHead+4 || code == postgresAuthSASL && size > maxFilterLine:
		x.EndFor(ErrBackend)
	case code == postgresAuthOK:
		x.Done()
		return 0
	case code == postgresAuthSASL && int64(len(b)) < size:
		return 0
	case code == postgresAuthSASL:
		f.mechanisms(x, b[:size])
		return int(size)
	case postgresSafe[code]:
		f.toClient = size
		return f.FromBackend(x, b)
	default:
		x.End(postgresError("28000", postgresNeedsTLS))
	}
	return len(b)
}

const postgresNeedsTLS = "password authentication requires TLS"

// mechanisms passes on the list in an AuthenticationSASL, but for mechanisms that send
// what a password is as good as: OAUTHBEARER's token, for one. SCRAM does not.
func (f *postgresAuth) mechanisms(x *Exchange, message []byte) {
	isSCRAM := func(name string) bool { return strings.HasPrefix(name, "SCRAM-") }
	kept, some := postgresMechanisms(message, isSCRAM)
	if !some {
		x.End(postgresError("28000", postgresNeedsTLS))
		return
	}
	x.ToClient(kept)
}
