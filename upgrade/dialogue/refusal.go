package dialogue

import (
	"errors"
	"fmt"
)

// maxQuoted bounds how much of an answer is quoted, in octets.
const maxQuoted = 200

// A refusal is why a server did not consent, with what it answered.
type refusal struct {
	why    error
	answer string
}

// Refusal wraps what a server answered in place of its consent. The text is the
// peer's, not to be trusted, so it is quoted, and not all of it if it is long.
func Refusal(why error, answer string) error { return refusal{why, answer} }

// Error implements error.
func (r refusal) Error() string {
	if len(r.answer) > maxQuoted {
		return fmt.Sprintf("%v: %q...", r.why, r.answer[:maxQuoted])
	}
	return fmt.Sprintf("%v: %q", r.why, r.answer)
}

// Unwrap returns the kind of refusal.
func (r refusal) Unwrap() error { return r.why }

// Quote adds to an error of a client what the server has said, if it does not have that
// yet: what it said last, and behind that what was not understood.
func (s *Session) Quote(err error) error {
	var quoted refusal
	var client ClientError
	heard := append(s.last[:len(s.last):len(s.last)], s.buf...)
	switch {
	case errors.As(err, &quoted), errors.As(err, &client), len(heard) == 0:
		return err
	case errors.Is(err, ErrRefused), errors.Is(err, ErrMalformed), errors.Is(err, ErrLineTooLong):
		return Refusal(err, string(heard))
	}
	return err
}

// recordTypeAlert begins an alert of TLS (RFC 8446 section 5.1).
const recordTypeAlert = 0x15

// Hint adds ErrExpectsTLS to an error of a client that has not heard a word in all this
// time.
func (s *Session) Hint(err error) error {
	if !s.Heard() && errors.Is(err, ErrTimeout) {
		return fmt.Errorf("%w: %w", err, ErrExpectsTLS)
	}
	return err
}

// Heard reports whether the peer has said anything.
func (s *Session) Heard() bool { return s.received > 0 }
