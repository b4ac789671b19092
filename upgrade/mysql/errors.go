package mysql

import (
	"encoding/binary"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An errorText is what an ERR packet says: a number of the server's list of errors, an
// SQLSTATE and a message.
type errorText struct {
	code           uint16
	state, message string
}

// packet makes the ERR packet. One in place of the greeting has no SQLSTATE: nobody knows the
// client's capabilities then.
func (e errorText) packet(sequence byte) []byte {
	payload := binary.LittleEndian.AppendUint16([]byte{replyError}, e.code)
	if sequence > 0 {
		payload = append(payload, "#"+e.state...)
	}
	return packet(sequence, append(payload, e.message...))
}

// unavailable is MySQL's ER_SERVER_ISNT_AVAILABLE. MariaDB's clients take the numbers from
// 2000 to 2999, such as those that MySQL Router sends, for a malformed packet: they are clients'.
var unavailable = errorText{3168, "HY000", "Server isn't available"}

// tlsUnavailable is said in place of a greeting, since a client that has asked for TLS
// listens to nothing else.
var tlsUnavailable = errorText{unavailable.code, unavailable.state, "TLS is not available for now"}

// errorPacket words the end of a session. The message for a client in plaintext is that of
// MySQL with require_secure_transport.
func errorPacket(sequence byte, why error) []byte {
	e := errorText{1043, "08S01", "Bad handshake"}
	switch {
	case errors.Is(why, dialogue.ErrPlaintext):
		e = errorText{3159, "HY000", "Connections using insecure transport are prohibited while --require_secure_transport=ON."}
	case errors.Is(why, dialogue.ErrPipelined), errors.Is(why, dialogue.ErrMalformed):
	case errors.Is(why, dialogue.ErrLineTooLong):
		e = errorText{1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes"}
	case errors.Is(why, dialogue.ErrTooManyConnections):
		e = errorText{1040, "08004", "Too many connections"}
	case errors.Is(why, dialogue.ErrTooMany):
		e = errorText{1158, "08S01", "Got an error reading communication packets"}
	case errors.Is(why, dialogue.ErrTimeout):
		e = errorText{1159, "08S01", "Got timeout reading communication packets"}
	case errors.Is(why, dialogue.ErrShutdown):
		e = errorText{1053, "08S01", "Server shutdown in progress"}
	case errors.Is(why, dialogue.ErrBackend):
		e = unavailable
		e.message = dialogue.UnavailableText(why, "Can't connect to the MySQL server behind")
	default:
		return nil
	}
	return e.packet(sequence)
}

// errorReply words the end of a session without a filter: a client that has been greeted
// has sent a packet since, or is about to.
func errorReply(s *dialogue.Session, why error) []byte {
	sequence := byte(0)
	if s.Spoken() {
		sequence = 2
	}
	return errorPacket(sequence, why)
}
