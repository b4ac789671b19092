// Package nut is the upgrade of Network UPS Tools for caddy-l4-starttls, from a module of its own: a Caddy
// that is built with it has the protocol nut.
package nut

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func init() { upgrade.Register(Protocol) }

// Protocol is that of Network UPS Tools, which upgrades with STARTTLS, RFC 9271 section 4.2:
//
//	C: STARTTLS
//	S: OK STARTTLS
//
// The client speaks first, there is no greeting, and a line ends with LF.
var Protocol = &dialogue.Protocol{
	Name:       "nut",
	Aliases:    []string{"ups", "upsd"},
	Port:       3493,
	Facts:      dialogue.Facts{Ports: "3493", Upgrade: "`STARTTLS`", Document: "RFC 9271"},
	MaxLine:    maxLine,
	Match:      match,
	Accept:     accept,
	Request:    request,
	Resume:     dialogue.ResumesAtOnce, // the server has forgotten a STARTTLS that it refused
	ErrorReply: errorReply,
	Join:       newFilter,
	Inquire:    inquire,
	Quit:       "LOGOUT\n",
}

// maxLine bounds a line, in octets. The server's own lines are shorter than 512.
const maxLine = 1024

func match(prefix []byte) dialogue.Verdict { return dialogue.MatchLiteral(prefix, []byte("STARTTLS")) }

// accept plays the server up to the upgrade.
func accept(s *dialogue.Session) error {
	for {
		line, err := s.ReadLine()
		if err != nil {
			return err
		}
		if line == "STARTTLS" && s.TLSAvailable() {
			return s.SendGoAhead([]byte("OK STARTTLS\n"))
		}
		if err := answer(s, line); err != nil {
			return err
		}
	}
}

const (
	needsTLS       = "ERR ACCESS-DENIED\n"
	unknownCommand = "ERR UNKNOWN-COMMAND\n"
)

// answer answers everything but the upgrade.
func answer(s *dialogue.Session, line string) error {
	switch verb, known := commandOf(line); {
	case verb == "STARTTLS":
		return s.SendRefusal([]byte("ERR FEATURE-NOT-CONFIGURED\n"))
	case verb == "LOGOUT":
		return errors.Join(s.Send([]byte("OK Goodbye\n")), dialogue.ErrQuit)
	case verb == "HELP":
		return s.Send([]byte("Commands: HELP LOGOUT STARTTLS\n"))
	case known:
		return s.SendNeedsBackend(logsIn[verb], []byte(needsTLS))
	}
	return s.SendRefusal([]byte(unknownCommand))
}

// request plays the client up to the upgrade.
func request(s *dialogue.Session) error {
	if err := s.Send([]byte("STARTTLS\n")); err != nil {
		return err
	}
	line, err := s.ReadLine()
	switch {
	case err != nil:
		return err
	case line == "OK STARTTLS":
		return nil
	case strings.HasPrefix(line, "ERR FEATURE-NOT-"), strings.HasPrefix(line, "ERR UNKNOWN-COMMAND"):
		return dialogue.ErrNotOffered
	case strings.HasPrefix(line, "ERR "):
		return dialogue.Refusal(dialogue.ErrRefused, line)
	}
	return dialogue.ErrMalformed
}

// inquire asks for the commands that the server knows.
func inquire(s *dialogue.Session, _ bool) (commands []string, err error) {
	if err := s.Send([]byte("HELP\n")); err != nil {
		return nil, err
	}
	line, err := s.ReadLine()
	if err != nil {
		return nil, err
	}
	list, ok := strings.CutPrefix(line, "Commands:")
	if !ok {
		return nil, dialogue.ErrMalformed
	}
	return strings.Fields(list), nil
}

func errorReply(_ *dialogue.Session, why error) []byte {
	switch {
	case errors.Is(why, dialogue.ErrPlaintext), errors.Is(why, dialogue.ErrTooManyConnections):
		return []byte(needsTLS)
	case errors.Is(why, dialogue.ErrPipelined), errors.Is(why, dialogue.ErrMalformed), errors.Is(why, dialogue.ErrTooMany):
		return []byte(unknownCommand)
	case errors.Is(why, dialogue.ErrLineTooLong):
		return []byte("ERR TOO-LONG\n")
	case errors.Is(why, dialogue.ErrBackend):
		return []byte("ERR DRIVER-NOT-CONNECTED\n")
	}
	return nil
}
