package tds

import (
	"encoding/binary"
	"errors"
	"unicode/utf16"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An errorText is what an ERROR token says: a number of the server's list (sys.messages), a
// class and a message. Class 20 and above end the connection.
type errorText struct {
	number  uint32
	class   byte
	message string
}

// Tokens of a reply (MS-TDS sections 2.2.7.6 and 2.2.7.10).
const (
	tokenError = 0xaa
	tokenDone  = 0xfd
)

// needsTLS is what SQL Server says with "Force Encryption" to a client that has no TLS.
var needsTLS = errorText{17835, 20, "Encryption is required to connect to this server but the client library does not support encryption; " +
	"the connection has been closed. Please upgrade your client library."}

// notReady has the number of a server that starts.
var notReady = errorText{17187, 16, "SQL Server is not ready to accept new client connections. Wait a few minutes before trying again."}

var (
	// tlsUnavailable is for want of a certificate.
	tlsUnavailable = errorText{notReady.number, notReady.class, "TLS is not available for now."}

	// tooMany is without the number of connections, which is nobody's business.
	tooMany = errorText{17809, 20, "Could not connect because the maximum number of user connections has already been reached."}
)

// reply makes the packet: an ERROR token and the DONE token of a command that has failed, as
// they are since TDS 7.2.
func (e errorText) reply() []byte {
	text := utf16.Encode([]rune(e.message))
	info := binary.LittleEndian.AppendUint32(nil, e.number)
	info = append(info, 1, e.class)                                  // state
	info = binary.LittleEndian.AppendUint16(info, uint16(len(text))) //nolint:gosec // short
	for _, c := range text {
		info = binary.LittleEndian.AppendUint16(info, c)
	}
	info = append(info, 0, 0, 1, 0, 0, 0)                                           // no server, no procedure, line 1
	data := binary.LittleEndian.AppendUint16([]byte{tokenError}, uint16(len(info))) //nolint:gosec // short
	data = append(data, info...)
	return packet(typeReply, append(data, tokenDone, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
}

// errorReply words the end of a session. Where the client waits for the answer to PRELOGIN,
// some show it no more than that there was none.
func errorReply(_ *dialogue.Session, why error) []byte {
	e := errorText{17828, 20, "The prelogin packet used to open the connection is structurally invalid; " +
		"the connection has been closed. Please contact the vendor of the client library."}
	switch {
	case errors.Is(why, dialogue.ErrPlaintext):
		e = needsTLS
	case errors.Is(why, dialogue.ErrPipelined), errors.Is(why, dialogue.ErrMalformed), errors.Is(why, dialogue.ErrLineTooLong),
		errors.Is(why, dialogue.ErrTooMany):
	case errors.Is(why, dialogue.ErrTooManyConnections), errors.Is(why, dialogue.ErrTooManyUpgrades):
		e = tooMany
	case errors.Is(why, dialogue.ErrTimeout):
		e = errorText{17830, 20, "A network error occurred while establishing a connection; the connection has been closed. " +
			"This may have been caused by client or server login timeout expired."}
	case errors.Is(why, dialogue.ErrShutdown):
		e = errorText{6005, 20, "SHUTDOWN is in progress."}
	case errors.Is(why, dialogue.ErrBackend):
		e = notReady
		e.message = dialogue.UnavailableText(why, e.message)
	default:
		return nil
	}
	return e.reply()
}
