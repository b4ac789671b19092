package postgres

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// postgresInside makes a server that has been asked for TLS, and has it or not, look like
// one without. A client's wish for encryption is answered here, for the server would take
// a second SSLRequest for an attack; and mechanisms with channel binding are taken from the
// server's list: libpq in plaintext ends the connection when it sees one, and a client
// whose TLS ends here would bind to another certificate than the server's.
type postgresInside struct {
	wishes  int
	started bool
}

// Start implements Filter.
func (*postgresInside) Start(*dialogue.Exchange) {}

// FromClient implements Filter. A client wishes for each kind of encryption once
// at most, then it starts. What is no wish passes, whatever it is: from a server that
// has been upgraded nothing else is kept.
func (f *postgresInside) FromClient(x *dialogue.Exchange, b []byte) int {
	wish := postgresWish(b)
	switch {
	case !f.started && wish == dialogue.NeedMore:
		return 0
	case f.started || wish == dialogue.NoMatch:
		f.started = true
		x.ToBackend(b)
		return len(b)
	case f.wishes == 2, !bytes.HasPrefix(b, sslRequest) && !bytes.HasPrefix(b, gssencRequest):
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	f.wishes++
	x.ToClient([]byte("N"))
	return len(sslRequest)
}

// FromBackend implements Filter. It looks for the first message of type R, which
// says how to authenticate, behind notices at the most. What it does not understand
// passes, with all that follows: it is for the client's sake that mechanisms are taken
// from the list, and one that gets them loses nothing but this connection.
func (*postgresInside) FromBackend(x *dialogue.Exchange, b []byte) int {
	size := postgresCut(x, b, "RvN")
	switch message := b[:size]; {
	case size > 0 && b[0] == 'R':
		x.ToClient(postgresNoPlus(message))
		x.Detach()
	default:
		x.ToClient(message)
	}
	return size
}

// postgresHead is what a message has in front of its contents: type and length.
const postgresHead = 1 + 4

// postgresCut returns the size of the message that b begins with, 0 if more of it must
// arrive. With a message of another type than those given, or one that is too long,
// there is nothing left to look for, and the filter is done. Behind notices (N) and a
// NegotiateProtocolVersion (v) comes the one that says how to authenticate (R).
func postgresCut(x *dialogue.Exchange, b []byte, types string) int {
	if len(b) < postgresHead {
		return 0
	}
	size := 1 + int64(binary.BigEndian.Uint32(b[1:]))
	switch {
	case strings.IndexByte(types, b[0]) < 0, size < postgresHead, size > dialogue.MaxFiltered:
		x.Detach()
		return 0
	case int64(len(b)) < size:
		return 0
	}
	return int(size)
}

// postgresNoPlus takes the mechanisms with channel binding out of an
// AuthenticationSASL, and leaves other messages as they are.
func postgresNoPlus(message []byte) []byte {
	if len(message) < postgresHead+4 || binary.BigEndian.Uint32(message[postgresHead:]) != postgresAuthSASL {
		return message
	}
	kept, _ := postgresMechanisms(message, func(name string) bool { return !strings.HasSuffix(name, "-PLUS") })
	return kept
}

// postgresMechanisms keeps some mechanisms in an AuthenticationSASL, and reports
// whether any is left.
func postgresMechanisms(message []byte, keep func(name string) bool) (edited []byte, some bool) {
	var list []byte
	for name := range bytes.SplitSeq(message[postgresHead+4:], []byte{0}) {
		if len(name) > 0 && keep(string(name)) {
			list = append(append(list, name...), 0)
		}
	}
	some = len(list) > 0
	list = append(list, 0)
	edited = binary.BigEndian.AppendUint32([]byte("R"), uint32(8+len(list))) //nolint:gosec // hardly longer than it was
	return append(binary.BigEndian.AppendUint32(edited, postgresAuthSASL), list...), some
}

// reject answers wishes for encryption first: what comes in answer to
// them is not shown to anybody.
func reject(s *dialogue.Session, why error) error {
	for {
		code, err := postgresMessage(s)
		switch {
		case err != nil:
			return err
		case code == postgresSSLRequest && errors.Is(why, dialogue.ErrTooManyConnections):
			return s.Send(errorReply(s, why)) // not N, which would mean that there is no TLS here
		case code == postgresSSLRequest || code == postgresGSSENCRequest:
			err = s.Send([]byte("N"))
		case code == postgresCancelRequest:
			return dialogue.ErrQuit
		default:
			return s.Send(errorReply(s, why))
		}
		if err != nil {
			return err
		}
	}
}
