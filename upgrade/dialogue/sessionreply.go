package dialogue

import "strings"

// Reply sends lines, each ended with CRLF, in one write.
func (s *Session) Reply(lines ...string) error { return s.Send(s.lines(lines)) }

// Refuse is Reply for a command that is refused. The session ends with
// ErrTooMany when there have been too many of them.
func (s *Session) Refuse(lines ...string) error { return s.SendRefusal(s.lines(lines)) }

// lines is CRLF for what is sent at once.
func (s *Session) lines(lines []string) []byte {
	s.reply = appendCRLF(s.reply[:0], lines)
	return s.reply
}

// NeedsBackend is Refuse for a command that only the backend can answer. If clients may
// stay in plaintext, and may authenticate so where the command does, it is the end of the
// negotiation instead: the backend gets the command.
func (s *Session) NeedsBackend(auth bool, lines ...string) error {
	return s.SendNeedsBackend(auth, s.lines(lines))
}

// SendNeedsBackend is NeedsBackend for protocols that are not made of lines.
func (s *Session) SendNeedsBackend(auth bool, p []byte) error {
	switch {
	case auth && !s.PlaintextAuth():
		return s.RefuseLogin(p)
	case !s.opts.Optional:
		return s.SendRefusal(p)
	}
	s.buf = append(s.last, s.buf...)
	s.cleartext = true
	return ErrCleartext
}

// Introduce keeps what the client has established so far, in the words in which a
// backend is to be told should the client stay in plaintext, if it may. TLS makes it void.
func (s *Session) Introduce(words ...string) {
	if s.opts.Optional {
		s.introduction = []byte(strings.Join(words, ""))
	}
}

// Keep keeps bytes of the plaintext phase for the filter that Protocol.Join makes: all
// that crosses the boundary. They are no more to be trusted there than here. More than
// MaxLine of them are ErrLineTooLong. Keep nothing that could be a command.
func (s *Session) Keep(p []byte) error {
	if len(s.kept)+len(p) > s.limits.Message {
		return ErrLineTooLong
	}
	s.kept = append(s.kept, p...)
	return nil
}

// Send sends bytes in one write. A client that has a reply before it has asked is
// told so by ErrPipelined: no such reply can be the answer.
func (s *Session) Send(p []byte) error {
	if s.client && s.Pipelined() {
		return ErrPipelined
	}
	s.spoken = true
	_, err := s.out.Write(p)
	return AsNegotiationError(err)
}

// SendRefusal is Refuse for protocols that are not made of lines.
func (s *Session) SendRefusal(p []byte) error {
	if err := s.Send(p); err != nil {
		return err
	}
	s.refusals++
	if s.refusals >= s.limits.Errors {
		return ErrTooMany
	}
	return nil
}

// RefuseLogin is SendRefusal for a client that tries to log in before TLS: the password
// that it may have sent is to be changed.
func (s *Session) RefuseLogin(p []byte) error {
	s.triedLogin = true
	return s.SendRefusal(p)
}

// Granted reports whether a go-ahead has been left.
func (s *Session) Granted() bool { return s.goAhead != nil }

// GoAhead leaves lines as the reply after which TLS starts. They are sent once
// it is sure that the client waits for them.
func (s *Session) GoAhead(lines ...string) error {
	s.granted = appendCRLF(s.granted[:0], lines)
	return s.SendGoAhead(s.granted)
}

// AnswerInside leaves what is said first inside TLS, in answer to what the client has asked
// in plaintext.
func (s *Session) AnswerInside(p []byte) { s.answer = p }

// SendGoAhead is GoAhead for protocols that are not made of lines.
func (s *Session) SendGoAhead(p []byte) error {
	s.goAhead = p
	return nil
}
