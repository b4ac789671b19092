package ftp

import (
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// request asks for TLS at once: the answer to AUTH says more than that to FEAT, which servers
// may answer without listing it.
func request(s *dialogue.Session) error {
	if err := hearGreeting(s); err != nil {
		return err
	}
	if err := s.Reply("AUTH TLS"); err != nil {
		return err
	}
	code, text, err := readReply(s)
	switch {
	case err != nil:
		return err
	case code == "234":
		return nil
	case notOffered[code]:
		return refusal(dialogue.ErrNotOffered, code, text)
	}
	return refusal(dialogue.ErrRefused, code, text)
}

// hearGreeting waits until the server is ready.
func hearGreeting(s *dialogue.Session) error {
	code, text, err := readReply(s)
	for err == nil && code == "120" { // "ready in n minutes"
		code, text, err = readReply(s)
	}
	if err == nil && code != "220" {
		err = refusal(dialogue.ErrRefused, code, text)
	}
	return err
}

// notOffered are the answers of servers that have no TLS: the last is that of those which know
// nothing but USER before a login.
var notOffered = map[string]bool{"500": true, "501": true, "502": true, "503": true, "504": true, "530": true}

// refusal takes what is neither a refusal nor the consent for what nobody has a meaning for.
func refusal(otherwise error, code, text string) error {
	if code[0] == '4' || code[0] == '5' {
		return dialogue.Refusal(otherwise, text)
	}
	return dialogue.Refusal(dialogue.ErrMalformed, text)
}

// readReply reads a reply of one line or more, and returns its code and its last line.
func readReply(s *dialogue.Session) (code, text string, err error) {
	var r replyReader
	for {
		line, err := s.ReadLine()
		if err != nil {
			return "", "", err
		}
		code, last := r.read([]byte(line))
		switch {
		case code == "":
			return "", "", dialogue.ErrMalformed
		case last:
			return code, strings.TrimRight(line, " \t"), nil
		}
	}
}
