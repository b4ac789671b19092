// Package telnet is the upgrade of Telnet, and what stands between its clients and servers
// then.
package telnet

import (
	"bytes"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is Telnet, which upgrades with the option START_TLS
// (draft-altman-telnet-starttls-02):
//
//	S: IAC DO START_TLS
//	C: IAC WILL START_TLS  IAC SB START_TLS FOLLOWS IAC SE
//	S: IAC SB START_TLS FOLLOWS IAC SE
//
// All options begin anew inside TLS. openssl s_client reads each of the server's words alone,
// so nothing else is said unasked. A client in plaintext will type its password sooner or
// later, where nothing tells it from what else it types: it can stay only if it may.
var Protocol = &dialogue.Protocol{
	Name:        "telnet",
	Aliases:     []string{"telnets", "telnet-ssl"},
	Port:        23,
	Facts:       dialogue.Facts{Ports: "23", Upgrade: "START_TLS option", Document: "draft-altman-telnet-starttls-02"},
	ServerFirst: true,
	MaxLine:     512,
	Accept:      accept,
	Request:     request,
	Resume:      resume,
	ErrorReply:  errorReply,
	Join:        newFilter,

	ImplicitPort: 992,
}

// Commands (RFC 854), and the option.
const (
	se   = 240
	sb   = 250
	will = 251
	wont = 252
	do   = 253
	dont = 254
	iac  = 255

	startTLS = 46
	follows  = 1
)

// followsTLS is what both sides say last before TLS.
var followsTLS = []byte{iac, sb, startTLS, follows, iac, se}

// errData is that there is no command, but what somebody has typed, or a server has printed.
var errData = errors.New("data in place of a command")

// readCommand reads and consumes a command: a byte alone, with an option, or with a
// subnegotiation from the option to the end.
func readCommand(s *dialogue.Session) (command []byte, err error) {
	p, err := s.Peek(1)
	switch {
	case err != nil:
		return nil, err
	case p[0] == dialogue.RecordTypeHandshake:
		return nil, dialogue.ErrMalformed
	case p[0] != iac:
		return nil, errData
	}
	if p, err = s.Peek(2); err != nil {
		return nil, err
	}
	size := 2
	switch p[1] {
	case iac:
		return nil, errData
	case will, wont, do, dont:
		size = 3
	case sb:
		if size, err = subnegotiation(s); err != nil {
			return nil, err
		}
	}
	if command, err = s.Next(size); err != nil {
		return nil, err
	}
	return command[1:], nil
}

// subnegotiation returns the size of one, with its end.
func subnegotiation(s *dialogue.Session) (int, error) {
	for {
		if end := bytes.Index(s.Buffered(), []byte{iac, se}); end >= 0 {
			return end + 2, nil
		}
		if err := s.More(); err != nil {
			return 0, err
		}
	}
}

// accept asks for TLS, and refuses all options up to there.
func accept(s *dialogue.Session) error {
	err := s.Send([]byte{iac, do, startTLS})
	for agreed := false; err == nil; {
		c, readErr := readCommand(s)
		switch {
		case errors.Is(readErr, errData) && s.PlaintextAuth():
			return stay(s, 1)
		case errors.Is(readErr, errData):
			return dialogue.ErrPlaintext
		case readErr != nil:
			return readErr
		case bytes.Equal(c, []byte{wont, startTLS}) && s.PlaintextAuth():
			return s.SendNeedsBackend(true, nil)
		case bytes.Equal(c, []byte{wont, startTLS}):
			return dialogue.ErrPlaintext
		case bytes.Equal(c, []byte{will, startTLS}):
			agreed = true
		case c[0] == sb && c[1] == startTLS:
			return grant(s, agreed && bytes.Equal(c, followsTLS[1:]))
		default:
			err = refuseOption(s, c)
		}
	}
	return err
}

// stay has the backend hear what begins with the next n octets.
func stay(s *dialogue.Session, n int) error {
	if _, err := s.Next(n); err != nil {
		return err
	}
	return s.SendNeedsBackend(true, nil)
}

func grant(s *dialogue.Session, asked bool) error {
	switch {
	case !asked:
		return dialogue.ErrMalformed
	case !s.TLSAvailable():
		refusal := append([]byte{iac, dont, startTLS}, "TLS is not available for now\r\n"...)
		return errors.Join(s.Send(refusal), dialogue.ErrQuit)
	}
	return s.SendGoAhead(followsTLS)
}

// refuseOption says no to an option, as who does not know it (RFC 1143). A refusal and a
// command without an option have no answer.
func refuseOption(s *dialogue.Session, command []byte) error {
	switch command[0] {
	case will:
		return s.Send([]byte{iac, dont, command[1]})
	case do:
		return s.Send([]byte{iac, wont, command[1]})
	}
	return nil
}

// request waits for the server to ask for TLS. Other options have no answer: those begin
// anew. A server that prints something first does not ask.
func request(s *dialogue.Session) error {
	for asked := false; !asked; {
		c, err := readCommand(s)
		switch {
		case errors.Is(err, errData):
			return dialogue.ErrNotOffered
		case err != nil:
			return err
		}
		asked = bytes.Equal(c, []byte{do, startTLS})
	}
	if err := s.Send(append([]byte{iac, will, startTLS}, followsTLS...)); err != nil {
		return err
	}
	c, err := readCommand(s)
	switch {
	case errors.Is(err, errData):
		return dialogue.ErrMalformed
	case err != nil:
		return err
	case bytes.Equal(c, followsTLS[1:]):
		return nil
	case bytes.Equal(c, []byte{dont, startTLS}):
		return dialogue.ErrRefused
	}
	return dialogue.ErrMalformed
}

// resume leaves what a server has printed by now for the client to read.
func resume(s *dialogue.Session) error {
	for s.Pipelined() {
		if len(s.Buffered()) == 0 {
			if err := s.Fill(); err != nil {
				return err
			}
		}
		if err := s.Discard(int64(len(s.Buffered()))); err != nil {
			return err
		}
	}
	return nil
}

func errorReply(_ *dialogue.Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		text = "Nothing may follow START_TLS"
	case errors.Is(why, dialogue.ErrLineTooLong), errors.Is(why, dialogue.ErrMalformed):
		text = "Not understood"
	case errors.Is(why, dialogue.ErrPlaintext):
		text = "TLS is required: use a client that knows START_TLS"
	case errors.Is(why, dialogue.ErrTooMany):
		text = "Too many errors"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = "Too many connections from your address"
	case errors.Is(why, dialogue.ErrTimeout):
		text = "Timeout"
	case errors.Is(why, dialogue.ErrShutdown):
		text = "The service is shutting down"
	case errors.Is(why, dialogue.ErrBackend):
		text = dialogue.UnavailableText(why, "Backend not available")
	default:
		return nil
	}
	return dialogue.CRLF([]string{text})
}
