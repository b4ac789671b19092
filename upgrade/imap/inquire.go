package imap

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// inquire asks for the capabilities that there are inside TLS (RFC 9051 section 6.2.1 has a
// client forget the others).
func inquire(s *dialogue.Session, greeted bool) (capabilities []string, err error) {
	if !greeted {
		if err := hearGreeting(s); err != nil {
			return nil, err
		}
	}
	if err := s.Reply("a003 CAPABILITY"); err != nil {
		return nil, err
	}
	for {
		line, err := s.ReadLine()
		if err != nil {
			return nil, err
		}
		start, code, ok := imapListStart(line)
		if ok && !code {
			capabilities = strings.Fields(line[start:])
		}
		switch tag, word := imapResponse(line); {
		case imapUpper(tag) == "A003" && word == "OK":
			return capabilities, nil
		case imapUpper(tag) == "A003", tag == "*" && word == "BYE":
			return nil, dialogue.Refusal(dialogue.ErrRefused, line)
		}
	}
}

// hearGreeting takes any but a refusal: one that says that there is no need to log in, too.
func hearGreeting(s *dialogue.Session) error {
	line, err := s.ReadLine()
	if err != nil {
		return err
	}
	switch tag, word := imapResponse(line); {
	case tag == "*" && word == "BYE":
		return dialogue.Refusal(dialogue.ErrRefused, line)
	case tag != "*" || word != "OK" && word != "PREAUTH":
		return dialogue.ErrMalformed
	}
	return nil
}
