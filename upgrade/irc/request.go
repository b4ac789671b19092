package irc

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// request asks at once: a server that lists the capability knows the command, and others
// have a numeric for it, or are silent.
func request(s *dialogue.Session) error {
	if err := s.Reply("STARTTLS"); err != nil {
		return err
	}
	for {
		line, err := s.ReadLine()
		if err != nil {
			return err
		}
		switch m := parse([]byte(line)); {
		case m.verb == "NOTICE" && m.wellFormed:
			err = keepNotice(s, line, m)
		case m.verb == "670" && m.source:
			return nil
		default:
			err = noConsent(m, line)
		}
		if err != nil {
			return err
		}
	}
}

// keepNotice keeps what a server says unasked, for whoever is inside. Of what may be from
// anybody this is the least: a line for people, from a server and to nobody in particular.
func keepNotice(s *dialogue.Session, line string, m message) error {
	target, _, _ := strings.Cut(string(m.args), " ")
	anybody := target == "*" || dialogue.EqualASCII(target, "AUTH")
	if !anybody || m.tags || strings.ContainsAny(m.from, "!@") || !dialogue.Printable(line) {
		return nil
	}
	return s.Keep([]byte(line + "\r\n"))
}

// noConsent says what it means that the server has come up with another line.
func noConsent(m message, line string) error {
	isError := m.verb == "691" || len(m.verb) == 3 && strings.Trim(m.verb, "0123456789") == "" && (m.verb[0] == '4' || m.verb[0] == '5')
	switch {
	case m.verb == "421" || m.verb == "451": // the command is unknown, before the registration or at all
		return dialogue.Refusal(dialogue.ErrNotOffered, line)
	case m.verb == "ERROR", isError && m.source:
		return dialogue.Refusal(dialogue.ErrRefused, line)
	}
	return dialogue.ErrMalformed
}
