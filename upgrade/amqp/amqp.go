// Package amqp is AMQP 1.0 for the package upgrade: the TLS security layer of the OASIS
// standard, part 5 (Security) section 5.2.
//
//	C: AMQP 2 1 0 0                          the header of the TLS layer
//	S: AMQP 2 1 0 0
//	   TLS
//	C: AMQP 3 1 0 0                          the header of the SASL layer, or AMQP 0 1 0 0
//
// Whoever gets a header that it does not take writes one that it does take, and ends the
// connection (part 2, Transport, section 2.2). Nothing but TLS is taken in plaintext, so that
// a refusal and the go-ahead are the same octets: what tells them apart is what was asked for.
package amqp

import (
	"errors"
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is AMQP 1.0, which upgrades with the protocol header of the TLS security layer
// (part 5 section 5.2).
var Protocol = &dialogue.Protocol{
	Name:         "amqp",
	Aliases:      []string{"amqps", "amqp1.0", "amqp-1.0", "rabbitmq", "qpid", "artemis"},
	Port:         5672,
	ImplicitPort: 5671,
	Facts: dialogue.Facts{
		Ports: "5672", Upgrade: "the protocol header `AMQP` 2 1 0 0", Document: "OASIS AMQP 1.0 part 5 section 5.2",
	},
	MaxLine:    headerSize,
	Match:      func(prefix []byte) dialogue.Verdict { return dialogue.MatchLiteral(prefix, []byte(tlsHeader)) },
	Accept:     accept,
	Request:    request,
	ErrorReply: errorReply,
	Join:       newFilter,
	Reject:     reject,
}

// accept reads one header: a connection has no second one before TLS.
func accept(s *dialogue.Session) error {
	h, err := readHeader(s)
	switch {
	case err != nil:
		return err
	case h == tlsHeader && s.TLSAvailable():
		return s.SendGoAhead([]byte(tlsHeader))
	case h == tlsHeader:
		return withoutTLS(s)
	case h == bareHeader && s.Optional(), logsIn(h) && s.PlaintextAuth():
		return s.SendNeedsBackend(false, nil)
	case h == bareHeader, logsIn(h):
		return fmt.Errorf("%w: header %x", dialogue.ErrPlaintext, h)
	}
	return dialogue.ErrMalformed
}

// withoutTLS ends a connection on which TLS cannot be granted now. Where clients may stay in
// plaintext, the client is told the header that is taken.
func withoutTLS(s *dialogue.Session) error {
	answer := closed(conditionForced, "TLS is not available for now")
	switch {
	case s.Pipelined():
		return dialogue.ErrPipelined
	case s.TooManyUpgrades():
		answer = closed(conditionLimit, "Too many TLS connections from your address")
	case s.PlaintextAuth():
		answer = []byte(saslHeader)
	case s.Optional():
		answer = []byte(bareHeader)
	}
	return errors.Join(s.Send(answer), dialogue.ErrQuit)
}

// errorReply is the header that is taken, for a client that has sent another. A client that has
// asked for TLS would take that for the go-ahead. It is told other reasons in a connection that
// is opened and closed again, or, for a violation, nothing.
func errorReply(_ *dialogue.Session, why error) []byte {
	switch {
	case errors.Is(why, dialogue.ErrPlaintext), errors.Is(why, dialogue.ErrMalformed):
		return []byte(tlsHeader)
	case errors.Is(why, dialogue.ErrTooManyConnections):
		return closed(conditionLimit, "Too many connections from your address")
	case errors.Is(why, dialogue.ErrShutdown):
		return closed(conditionForced, "Server is shutting down")
	case errors.Is(why, dialogue.ErrBackend):
		return unavailable(bareHeader, why)
	}
	return nil
}

// request reads one header. A server that writes another one ends the connection, some with a
// reason behind the header.
func request(s *dialogue.Session) error {
	if err := s.Send([]byte(tlsHeader)); err != nil {
		return err
	}
	h, err := readHeader(s)
	switch {
	case err != nil:
		return err
	case h == tlsHeader:
		return nil
	case h[:idAt+1] == tlsHeader[:idAt+1]: // another version of it
		return fmt.Errorf("%w: header %x", dialogue.ErrRefused, h)
	case h == bareHeader:
		if _, err := s.Peek(frameHead); err == nil {
			return fmt.Errorf("%w: frames behind header %x", dialogue.ErrRefused, h)
		}
	}
	return fmt.Errorf("%w: header %x", dialogue.ErrNotOffered, h)
}

// reject answers the client's first header.
func reject(s *dialogue.Session, why error) error {
	h, err := readHeader(s)
	switch {
	case err != nil:
		return err
	case errors.Is(why, dialogue.ErrTooManyConnections):
		return s.Send(errorReply(s, why))
	}
	return s.Send(unavailable(h, why))
}

// readHeader reads a protocol header. It does not wait for the rest of what is none, such as a
// ClientHello.
func readHeader(s *dialogue.Session) (string, error) {
	p, err := s.NextWith(magic, headerSize)
	return string(p), err
}
