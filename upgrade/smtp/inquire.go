package smtp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// inquire asks for the extensions that there are inside TLS (RFC 3207 section 4.2 has a client
// ask again).
func inquire(s *dialogue.Session, hello string, greeted bool) ([]string, error) {
	if !greeted {
		if _, err := smtpExpect(s, "220", dialogue.ErrRefused); err != nil {
			return nil, err
		}
	}
	if err := s.Reply(hello + " " + s.Hostname()); err != nil {
		return nil, err
	}
	lines, err := smtpExpect(s, "250", dialogue.ErrRefused)
	if err != nil {
		return nil, err
	}
	return lines[1:], nil
}
