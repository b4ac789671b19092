package ftp

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// inquire asks for the features that there are inside TLS (RFC 2389 section 3).
func inquire(s *dialogue.Session, greeted bool) (features []string, err error) {
	if !greeted {
		if err := hearGreeting(s); err != nil {
			return nil, err
		}
	}
	if err := s.Reply("FEAT"); err != nil {
		return nil, err
	}
	var r replyReader
	for {
		line, err := s.ReadLine()
		if err != nil {
			return nil, err
		}
		code, last := r.read([]byte(line))
		switch {
		case code == "":
			return nil, dialogue.ErrMalformed
		case code != "211":
			return nil, refusal(dialogue.ErrRefused, code, line)
		case last:
			return features, nil
		case strings.HasPrefix(line, " "):
			features = append(features, strings.TrimSpace(line))
		}
	}
}
