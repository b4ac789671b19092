// Package line is the generic protocol of lines for the package upgrade.
package line

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is the generic protocol of applications that are made of lines, and upgrade
// after one of them, which may be answered by another. What else they say in plaintext
// is their own business, so it is passed on at once, unless a configuration requires the
// upgrade.
//
//	C: PING               the application's own
//	S: PONG
//	C: STARTTLS           the option command
//	S: GO AHEAD           the option reply; without one the ClientHello follows at once, or
//	                      from a client of ours after the option pause
var Protocol = &dialogue.Protocol{
	Name:               "line",
	Aliases:            []string{"text", "starttls"},
	Facts:              dialogue.Facts{Ports: "any", Upgrade: "a line, `STARTTLS` by default", Document: "of the application"},
	EarlyDial:          true,
	PlaintextByDefault: true,
	Options: []dialogue.Option{
		{Name: commandOption, Default: "STARTTLS", Usage: "the line that asks for the upgrade"},
		{Name: replyOption, Usage: "the line that grants the upgrade; none by default: the client starts TLS without waiting for one"},
		{Name: pauseOption, Type: dialogue.DurationOption, Client: true, Default: "50ms",
			Usage: "how long to wait between the command and TLS, where there is no reply to wait for"},
	},
	Accept:  accept,
	Request: request,
	Join:    newFilter,
}

const (
	commandOption = "command"
	replyOption   = "reply"
	pauseOption   = "pause"
)

// accept takes the command for the first line. A server that talks first, or more,
// has a conversation of its own.
func accept(s *dialogue.Session) error {
	line, err := s.ReadLine()
	switch {
	case err != nil:
		return err
	case line != s.Option(commandOption):
		return dialogue.ErrPlaintext
	case s.Option(replyOption) == "":
		return s.SendGoAhead(nil)
	}
	return s.SendGoAhead([]byte(s.Option(replyOption) + s.LineEnd()))
}

func request(s *dialogue.Session) error {
	if err := s.Send([]byte(s.Option(commandOption) + "\n")); err != nil {
		return err
	}
	if s.Option(replyOption) == "" {
		return s.Pause(pauseOption) // our ClientHello is next
	}
	line, err := s.ReadLine()
	if err == nil && line != s.Option(replyOption) {
		err = dialogue.Refusal(dialogue.ErrRefused, line)
	}
	return err
}

// A filter passes everything on but the command. Only the beginning of a line
// that could become the command is kept back.
type filter struct {
	command, reply string
	required       bool // nothing but the command may be said in plaintext
	midLine        bool // the client's present line is not the command
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil
	}
	return &filter{command: s.Options.Get(commandOption), reply: s.Options.Get(replyOption), required: !s.Cleartext}
}

// Start implements Filter.
func (*filter) Start(*dialogue.Exchange) {}

// FromClient implements Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	if !f.midLine {
		for _, end := range []string{"\n", "\r\n"} {
			switch dialogue.MatchLiteral(b, []byte(f.command+end)) {
			case dialogue.NeedMore:
				return 0
			case dialogue.Matched:
				f.upgrade(x, end)
				return len(f.command + end)
			}
		}
	}
	if f.required {
		x.CloseFor(dialogue.ErrPlaintext)
		return len(b)
	}
	n := bytes.IndexByte(b, '\n') + 1
	f.midLine = n == 0
	if f.midLine {
		n = len(b)
	}
	x.ToBackend(b[:n])
	return n
}

// upgrade grants the command in its own kind of line, or without a word: then the
// ClientHello may have come with it.
func (f *filter) upgrade(x *dialogue.Exchange, end string) {
	var reply []byte
	if f.reply != "" {
		reply = []byte(f.reply + end)
	}
	x.Upgrade(reply)
	x.Detach()
}

// FromBackend implements Filter.
func (*filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	x.ToClient(b)
	return len(b)
}

// ClientEnded passes on the beginning of a line that did not become the command: it is the
// application's.
func (f *filter) ClientEnded(x *dialogue.Exchange, rest []byte) {
	if !f.required {
		x.ToBackend(rest)
	}
}
