package upgrade

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// postgresInside makes a server inside TLS look like one without. A client's wish
// for encryption is answered here, for the server would take a second SSLRequest
// for an attack; and mechanisms with channel binding are taken from the server's
// list: libpq in clear ends the connection when it sees one, and a client whose
// TLS ends here would bind to another certificate than the server's.
type postgresInside struct {
	wishes  int
	started bool
}

// Start implements Filter.
func (*postgresInside) Start(*Exchange) {}

// FromClient implements Filter. A client wishes for each kind of encryption once
// at most, then it starts.
func (f *postgresInside) FromClient(x *Exchange, b []byte) int {
	wish := max(matchLiteral(b, sslRequest), matchLiteral(b, gssencRequest))
	switch {
	case !f.started && wish == NeedMore:
		return 0
	case f.started || wish == NoMatch:
		f.started = true
		x.ToBackend(b)
		return len(b)
	case f.wishes == 2:
		x.EndFor(ErrMalformed)
		return len(b)
	}
	f.wishes++
	x.ToClient([]byte("N"))
	return len(sslRequest)
}

// FromBackend implements Filter. It looks for the first message of type R, which
// says how to authenticate, behind notices at the most.
func (*postgresInside) FromBackend(x *Exchange, b []byte) int {
	size := postgresCut(x, b, "RvN")
	switch message := b[:size]; {
	case size > 0 && b[0] == 'R':
		x.ToClient(postgresNoPlus(message))
		x.Done()
	default:
		x.ToClient(message)
	}
	return size
}

// postgresNoPlus takes the mechanisms with channel binding out of an
// AuthenticationSASL, and leaves other messages as they are.
func postgresNoPlus(message []byte) []byte {
	const head, sasl = postgresHead + 4, 10
	if len(message) < head || binary.BigEndian.Uint32(message[postgresHead:]) != sasl {
		return message
	}
	var list []byte
	for name := range strings.SplitSeq(string(bytes.TrimRight(message[head:], "\x00")), "\x00") {
		if !strings.HasSuffix(name, "-PLUS") {
			list = append(list, name+"\x00"...)
		}
	}
	list = append(list, 0)
	edited := binary.BigEndian.AppendUint32([]byte("R"), uint32(8+len(list))) //nolint:gosec // no longer than it was
	return append(binary.BigEndian.AppendUint32(edited, sasl), list...)
}

// postgresUnavailable answers wishes for encryption first: what comes in answer to
// them is not shown to anybody.
func postgresUnavailable(s *Session, why error) error {
	for {
		code, err := postgresMessage(s)
		switch {
		case err != nil:
			return err
		case code == postgresSSLRequest || code == postgresGSSENCRequest:
			err = s.Send([]byte("N"))
		case code == postgresCancelRequest:
			return ErrQuit
		default:
			return s.Send(postgresFarewell(s, why))
		}
		if err != nil {
			return err
		}
	}
}
