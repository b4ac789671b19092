package nntp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// inquire asks for the capabilities that there are inside TLS (RFC 4642 section 2.2.2).
func inquire(s *dialogue.Session, greeted bool) (capabilities []string, err error) {
	if !greeted {
		if err := expect(s, dialogue.ErrRefused, "200", "201"); err != nil {
			return nil, err
		}
	}
	if err := s.Reply("CAPABILITIES"); err != nil {
		return nil, err
	}
	if err := expect(s, dialogue.ErrRefused, "101"); err != nil {
		return nil, err
	}
	return s.ReadBlock()
}
