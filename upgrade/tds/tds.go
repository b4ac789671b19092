// Package tds is the Tabular Data Stream of Microsoft SQL Server for the package upgrade:
// PRELOGIN of MS-TDS sections 2.2.6.5 and 3.2.5.
//
//	C: PRELOGIN, ENCRYPTION 0 or 1             0: TLS for the login alone; 1: for all
//	S: answer, ENCRYPTION 3 or 1               3: TLS is required
//	   TLS handshake, in packets of the type of PRELOGIN
//	   TLS
//	C: LOGIN7                                  from here on everything passes as it is
//
// A client that offers TLS for its login alone is told that TLS is required, and all of the
// session is inside TLS then. One that has no TLS is told the same, and refused at its next
// word. A backend is told that the client has no TLS.
//
// In TDS 8.0 a client begins with TLS, and sends its PRELOGIN inside.
package tds

import (
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is TDS, which upgrades with PRELOGIN (MS-TDS section 2.2.6.5). The answer has more
// that is the backend's to say than what it says of TLS, so the backend is needed before the
// upgrade. A client that begins with a ClientHello must offer the ALPN id of TDS 8.0 there.
var Protocol = &dialogue.Protocol{
	Name:    "tds",
	Aliases: []string{"mssql", "ms-sql-s", "sqlserver", "sql server", "tds8"},
	Port:    1433,
	Facts: dialogue.Facts{
		Ports: "1433", Upgrade: "`PRELOGIN` with `ENCRYPTION`", Document: "MS-TDS 2.2.6.5, 3.2.5",
	},
	EarlyDial:        true,
	HearsClient:      true,
	ALPN:             []string{"tds/8.0"},
	DirectALPN:       true,
	HandshakePackets: handshakePackets,
	MaxLine:          maxPrelogin,
	Match:            match,
	Accept:           accept,
	Request:          request,
	Resume:           dialogue.ResumesAtOnce, // behind its answer the server waits for LOGIN7
	ErrorReply:       errorReply,
	Join:             newFilter,
	Reject:           reject,
}

// match accepts a PRELOGIN that does not say that there is no TLS.
func match(prefix []byte) dialogue.Verdict {
	size, err := cutPacket(prefix, typePrelogin, maxPrelogin)
	switch {
	case err != nil, len(prefix) > headSize && prefix[headSize] != tokenVersion:
		return dialogue.NoMatch
	case size == 0:
		return dialogue.NeedMore
	}
	if p, ok := parsePrelogin(prefix[:size]); !ok || !p.known() || p.encryption() == encryptNotSup {
		return dialogue.NoMatch
	}
	return dialogue.Matched
}

// accept answers in the name of a server that has no more to say than that there is TLS.
func accept(s *dialogue.Session) error {
	p, err := readPrelogin(s)
	if err != nil {
		return err
	}
	switch {
	case p.encryption() == encryptNotSup && s.PlaintextAuth():
		return s.SendNeedsBackend(false, nil)
	case p.encryption() == encryptNotSup:
		return refuse(s)
	case !s.TLSAvailable():
		return withoutTLS(s)
	}
	return s.SendGoAhead(ownPrelogin(typeReply, p.answer()))
}

// readPrelogin reads what a client begins with. One that logs in at once has chosen plaintext.
func readPrelogin(s *dialogue.Session) (p prelogin, err error) {
	b, err := peekPacket(s, typePrelogin)
	if read := s.Buffered(); errors.Is(err, dialogue.ErrMalformed) && isLogin(read[0]) {
		return p, stay(s)
	}
	if err != nil {
		return p, err
	}
	if b, err = s.Next(len(b)); err != nil {
		return p, err
	}
	p, ok := parsePrelogin(b)
	if !ok || !p.known() {
		return p, dialogue.ErrMalformed
	}
	return p, nil
}

// stay leaves a client in plaintext that may log in so.
func stay(s *dialogue.Session) error {
	if !s.PlaintextAuth() {
		return dialogue.ErrPlaintext
	}
	if _, err := s.Next(1); err != nil {
		return err
	}
	return s.SendNeedsBackend(false, nil)
}

// withoutTLS answers a PRELOGIN where TLS cannot be had now. It is the end of the connection.
func withoutTLS(s *dialogue.Session) error {
	answer := tlsUnavailable
	switch {
	case s.Pipelined():
		return dialogue.ErrPipelined
	case s.TooManyUpgrades():
		answer = tooMany
	}
	return errors.Join(s.Send(answer.reply()), dialogue.ErrQuit)
}

// refuse tells a client without TLS that TLS is required. What it says to that is the end.
func refuse(s *dialogue.Session) error {
	if err := s.Send(ownPrelogin(typeReply, encryptReq)); err != nil {
		return err
	}
	if _, err := s.Peek(1); errors.Is(err, dialogue.ErrTimeout) {
		return err
	}
	return dialogue.ErrPlaintext
}

// reject answers a PRELOGIN, which is what the client waits with.
func reject(s *dialogue.Session, why error) error {
	b, err := peekPacket(s, typePrelogin)
	if err != nil {
		return err
	}
	if _, err := s.Next(len(b)); err != nil {
		return err
	}
	return s.Send(errorReply(s, why))
}
