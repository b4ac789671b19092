package tds

import (
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// request asks for TLS for all of the session, with the PRELOGIN of the client for whom it
// asks, so that the answer is for that client but for what it says of TLS. It is kept.
func request(s *dialogue.Session) error {
	first, err := firstPrelogin(s.Client())
	if err != nil {
		return err
	}
	if err := s.Send(first); err != nil {
		return err
	}
	b, err := peekPacket(s, typeReply)
	if err != nil {
		return err
	}
	if b, err = s.Next(len(b)); err != nil {
		return err
	}
	p, ok := parsePrelogin(b)
	switch {
	case b[headSize] == tokenError:
		return fmt.Errorf("%w: ERROR in place of an answer to PRELOGIN", dialogue.ErrRefused)
	case !ok:
		return dialogue.ErrMalformed
	}
	if err := s.Keep(b); err != nil {
		return err
	}
	switch p.encryption() {
	case encryptOn, encryptReq:
		return nil
	case encryptNotSup:
		return dialogue.ErrNotOffered
	}
	return fmt.Errorf("%w: ENCRYPTION %#x", dialogue.ErrMalformed, p.encryption())
}

// firstPrelogin is what the server is asked with. The client's is left to be read again.
func firstPrelogin(client *dialogue.Session) ([]byte, error) {
	if client == nil {
		return ownPrelogin(typePrelogin, encryptOn), nil
	}
	b, err := peekPacket(client, typePrelogin)
	if err != nil {
		return nil, dialogue.ClientError{Cause: err}
	}
	p, ok := parsePrelogin(b)
	if !ok || !p.known() {
		return nil, dialogue.ClientError{Cause: dialogue.ErrMalformed}
	}
	return p.with(encryptOn), nil
}
