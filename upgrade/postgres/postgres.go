// Package postgres is PostgreSQL for the package upgrade: SSLRequest of the documentation's
// chapter "Frontend/Backend Protocol", section "SSL Session Encryption".
//
//	C: 00000008 04d2162f                     SSLRequest
//	S: S
//	   TLS
//	C: StartupMessage                        from here on everything passes as it is
package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is PostgreSQL, which upgrades with SSLRequest, PostgreSQL documentation "Frontend/Backend
// Protocol", section "SSL Session Encryption". A client that begins with a
// ClientHello must offer its ALPN id there.
var Protocol = &dialogue.Protocol{
	Name:       "postgres",
	Aliases:    []string{"postgresql", "pgsql", "pg", "psql"},
	Port:       5432,
	Facts:      dialogue.Facts{Ports: "5432", Upgrade: "SSLRequest", Document: `PostgreSQL documentation, "SSL Session Encryption"`},
	ALPN:       []string{"postgresql"},
	DirectALPN: true,
	MaxLine:    10000, // MAX_STARTUP_PACKET_LENGTH
	Match:      match,
	Accept:     accept,
	Request:    request,
	Resume:     dialogue.ResumesAtOnce, // behind N the server waits for a StartupMessage
	ErrorReply: errorReply,
	Join:       newFilter,

	Reject: reject,

	ImplicitPort: 5432,
}

// The first message of a client has no type: its length, of itself and all that
// follows, then one of these codes or the protocol's version.
const (
	postgresCancelRequest = 1234<<16 | 5678
	postgresSSLRequest    = 1234<<16 | 5679
	postgresGSSENCRequest = 1234<<16 | 5680
)

// The size of a CancelRequest: its length, its code, the number of a process, and a key, of
// 4 octets up to version 3.0 of the protocol, and of up to 256 since 3.2.
const (
	minCancelRequest = 4 + 4 + 4 + 4
	maxCancelRequest = 4 + 4 + 4 + 256
)

var (
	sslRequest    = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
	gssencRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30}
)

// errPostgresV2 is ErrPlaintext for a client that would not understand a modern
// ErrorResponse.
var errPostgresV2 = fmt.Errorf("%w: protocol version 2", dialogue.ErrPlaintext)

func match(prefix []byte) dialogue.Verdict {
	return max(dialogue.MatchLiteral(prefix, sslRequest), dialogue.MatchLiteral(prefix, gssencRequest))
}

func accept(s *dialogue.Session) error {
	for encrypted := false; ; encrypted = true {
		code, err := postgresMessage(s)
		if err != nil {
			return err
		}
		switch {
		case code == postgresSSLRequest:
			if s.TLSAvailable() {
				return s.SendGoAhead([]byte("S"))
			}
			err = postgresNoTLS(s)
		case code == postgresGSSENCRequest && !encrypted:
			err = postgresNoGSS(s)
		case code == postgresCancelRequest:
			err = s.CancelRequest() // libpq before 17, pgx and node-postgres never encrypt it
		case code>>16 == 3:
			err = postgresCommit(s, dialogue.ErrPlaintext)
		case code>>16 == 2 && s.PlaintextAuth():
			err = postgresCommit(s, errPostgresV2)
		case code>>16 == 2: // its answers are framed otherwise: see postgresAuth
			err = errPostgresV2
		default:
			err = dialogue.ErrMalformed
		}
		if err != nil {
			return err
		}
	}
}

// postgresNoTLS answers SSLRequest where TLS cannot be had for now. A client that prefers TLS
// goes on without, so that it must not hear this where it is required, or where it has itself
// to thank for it.
func postgresNoTLS(s *dialogue.Session) error {
	answer := postgresError("57P03", "TLS is not available for now")
	switch {
	case s.Pipelined():
		return dialogue.ErrPipelined
	case s.TooManyUpgrades():
		answer = postgresError("53300", "too many TLS connections from your address")
	case s.Optional():
		return s.Send([]byte("N"))
	}
	return errors.Join(s.Send(answer), dialogue.ErrQuit)
}

// postgresNoGSS answers GSSENCRequest. What a client sends before it has the
// answer would have been read as encrypted (CVE-2021-23214).
func postgresNoGSS(s *dialogue.Session) error {
	if s.Pipelined() {
		return dialogue.ErrPipelined
	}
	return s.Send([]byte("N"))
}

// postgresCommit is for a client that means to stay in plaintext. Which of its
// passwords go over the wire then, is up to the backend: see postgresAuth.
func postgresCommit(s *dialogue.Session, why error) error {
	if !s.Optional() {
		return why
	}
	return s.SendNeedsBackend(false, nil)
}

// postgresMessage reads a first message, and returns its code.
func postgresMessage(s *dialogue.Session) (code uint32, err error) {
	first, err := s.Peek(1)
	if err != nil {
		return 0, err
	}
	if first[0] == dialogue.RecordTypeHandshake {
		return 0, dialogue.ErrMalformed
	}
	head, err := s.Peek(8)
	if err != nil {
		return 0, err
	}
	size := binary.BigEndian.Uint32(head)
	code = binary.BigEndian.Uint32(head[4:])
	request := code == postgresSSLRequest || code == postgresGSSENCRequest
	switch {
	case int64(size) > int64(s.MaxLine()):
		return 0, dialogue.ErrLineTooLong
	case size < 8 || request && size != 8 || code == postgresCancelRequest && (size < minCancelRequest || size > maxCancelRequest):
		return 0, dialogue.ErrMalformed
	}
	_, err = s.Next(int(size))
	return code, err
}

// errorReply has codes of the documentation's appendix "PostgreSQL Error
// Codes". It must be an ErrorResponse: libpq with sslmode=allow tries again with
// TLS after one, but not after a mere end.
func errorReply(_ *dialogue.Session, why error) []byte {
	switch {
	case errors.Is(why, errPostgresV2):
		return []byte("EFATAL:  connection requires TLS\n\x00")
	case errors.Is(why, dialogue.ErrPlaintext):
		return postgresError("28000", "connection requires TLS")
	case errors.Is(why, dialogue.ErrPipelined):
		return postgresError("08P01", "received unencrypted data after a request for encryption")
	case errors.Is(why, dialogue.ErrLineTooLong), errors.Is(why, dialogue.ErrMalformed), errors.Is(why, dialogue.ErrTooMany):
		return postgresError("08P01", "invalid startup packet")
	case errors.Is(why, dialogue.ErrTooManyConnections):
		return postgresError("53300", "too many connections from your address")
	case errors.Is(why, dialogue.ErrShutdown):
		return postgresError("57P01", "server is shutting down")
	case errors.Is(why, dialogue.ErrBackend):
		return postgresError("57P03", dialogue.UnavailableText(why, "backend not available"))
	}
	return nil // as the server, which times out in silence
}

// postgresError makes an ErrorResponse: its type, its length, its fields.
func postgresError(code, message string) []byte {
	fields := "SFATAL\x00VFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
	p := binary.BigEndian.AppendUint32([]byte("E"), uint32(4+len(fields))) //nolint:gosec // short
	return append(p, fields...)
}

// request reads one octet. What a server says behind an E was never authenticated: it is
// quoted for a log, and shown to no client (CVE-2024-10977).
func request(s *dialogue.Session) error {
	if err := s.Send(sslRequest); err != nil {
		return err
	}
	answer, err := s.Next(1)
	if err != nil {
		return err
	}
	switch answer[0] {
	case 'S':
		return nil
	case 'N':
		return dialogue.ErrNotOffered
	case 'E':
		return dialogue.ErrRefused
	}
	return dialogue.ErrMalformed
}
