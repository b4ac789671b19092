package mysql

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// request asks for TLS with the first octets of what the client will log in with, for a
// server takes the capabilities from there. So the client is greeted first, in the server's
// words. Where there is no client, capabilities are those that every server has.
func request(s *dialogue.Session) error {
	start, err := s.Peek(headSize)
	if err != nil {
		return err
	}
	size, number := head(start)
	if number != 0 || size == 0 {
		return dialogue.ErrMalformed
	}
	first, err := s.Next(headSize + size)
	if err != nil {
		return err
	}
	payload := first[headSize:]
	g, ok := parseGreeting(payload)
	switch {
	case payload[0] == replyError:
		return dialogue.ErrRefused
	case !ok:
		return dialogue.ErrMalformed
	case s.Pipelined():
		return dialogue.ErrPipelined
	case g.capabilities&offersTLS == 0:
		return dialogue.ErrNotOffered
	}
	if err := s.Keep(payload); err != nil {
		return err
	}
	begins, err := hearLogin(s.Client(), &g)
	if err != nil {
		return err
	}
	setTLS(begins, true)
	if err := s.Send(packet(1, begins)); err != nil {
		return err
	}
	return s.Pause(pauseOption)
}

// hearLogin returns what an SSLRequest is made of: what the client's login begins with. The
// login itself is left to be read again.
func hearLogin(client *dialogue.Session, g *greeting) ([]byte, error) {
	if client == nil {
		own := make([]byte, sslRequestSize)
		putCapabilities(own, g.capabilities&(longPassword|protocol41|secureConnection|pluginAuth))
		own[7], own[8] = 1, 45 // packets of 16 MiB, utf8mb4_general_ci
		return own, nil
	}
	if err := client.Send(packet(0, g.offering(false))); err != nil {
		return nil, dialogue.ClientError{Cause: err}
	}
	first, err := client.Peek(headSize + sslRequestSize)
	if err != nil {
		return nil, dialogue.ClientError{Cause: err}
	}
	size, number := head(first)
	capabilities := clientCapabilities(first[headSize:])
	if number != 1 || size <= sslRequestSize || capabilities&protocol41 == 0 || capabilities&offersTLS != 0 {
		return nil, dialogue.ClientError{Cause: dialogue.ErrMalformed}
	}
	return bytes.Clone(first[headSize:]), nil
}
