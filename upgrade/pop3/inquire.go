package pop3

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// inquire asks for the capabilities that there are inside TLS (RFC 2595 section 4).
func inquire(s *dialogue.Session, greeted bool) (capabilities []string, err error) {
	if !greeted {
		if err := pop3Expect(s, dialogue.ErrRefused); err != nil {
			return nil, err
		}
	}
	if err := s.Reply("CAPA"); err != nil {
		return nil, err
	}
	if err := pop3Expect(s, dialogue.ErrRefused); err != nil {
		return nil, err
	}
	return s.ReadBlock()
}
