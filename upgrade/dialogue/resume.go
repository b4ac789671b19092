package dialogue

// A resumption is what a client keeps of a server that may turn out not to offer the
// upgrade, and that may do without.
type resumption struct {
	heard    []byte // all that the server has said; no more than a Session may receive
	greeting int    // how much of it was said before we said anything
	resumed  bool
}

// hear keeps what a server has said, where it may be needed.
func (s *Session) hear(p []byte) {
	if !s.client || !s.opts.Optional {
		return
	}
	s.heard = append(s.heard, p...)
	if !s.spoken {
		s.greeting = len(s.heard)
	}
}

// Resume is for a server that Request has found not to offer the upgrade, for the reason
// why. It returns ErrCleartext if the session goes on in plaintext, as the options allow:
// then the server is where a session begins, and ServerGreeting is what a client is to hear of it.
// Otherwise it returns why, or what went wrong.
func (s *Session) Resume(proto *Protocol, why error) error {
	if !s.opts.Optional || proto.Resume == nil {
		return why
	}
	if err := proto.Resume(s); err != nil {
		return err
	}
	if s.Pipelined() {
		return ErrPipelined // it would be taken for what a client hears next
	}
	s.resumed, s.cleartext = true, true
	return ErrCleartext
}

// ResumesAtOnce is a Protocol.Resume for protocols in which asking what a server offers
// changes nothing.
func ResumesAtOnce(*Session) error { return nil }

// ServerGreeting is what the server has said before it was asked for anything, if Resume has
// brought it back to where a session begins.
func (s *Session) ServerGreeting() []byte {
	if !s.resumed {
		return nil
	}
	return s.heard[:s.greeting]
}

// KeepHeard is Keep for all that a server has said in answer.
func (s *Session) KeepHeard() error { return s.Keep(s.heard[s.greeting:]) }
