package nut

import (
	"bytes"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// logsIn are the commands that are known, with whether they are a part of logging in. Others are refused: what is
// not known may be an upgrade.
var logsIn = map[string]bool{
	"GET": false, "LIST": false, "SET": false, "INSTCMD": false, "LOGIN": false, "LOGOUT": false, "MASTER": false,
	"PRIMARY": false, "FSD": false, "HELP": false, "VER": false, "NETVER": false, "PROTVER": false, "STARTTLS": false,
	"USERNAME": true, "PASSWORD": true,
}

// commandOf returns the command of a line, in upper case, and whether it is known and the line is read in one way
// only: the server takes quotes and backslashes as a shell does, in the command's name as well.
func commandOf(line string) (verb string, known bool) {
	verb, _, _ = strings.Cut(line, " ")
	verb = dialogue.UpperASCII([]byte(verb))
	_, known = logsIn[verb]
	return verb, known && wellFormed(line)
}

// wellFormed reports whether a line has no control characters, and ends outside of quotes and not behind a backslash.
func wellFormed(line string) bool {
	quoted, escaped := false, false
	for _, c := range []byte(line) {
		switch {
		case c < ' ' || c == 0x7f:
			return false
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		}
	}
	return !quoted && !escaped
}

// A filter stands between a client and a backend for the whole session, since the backend may have a
// STARTTLS of its own at any time. A command waits for the answer to the one before it, so that our own
// answers are in their places.
type filter struct {
	refusal    string // of STARTTLS
	refuseAuth bool   // the client is in plaintext, and may not log in

	asked, list bool // the backend owes an answer, and is amid a list
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil // it offers no upgrade any more
	}
	f := &filter{refusal: "ERR ALREADY-SSL-MODE\n", refuseAuth: s.Cleartext && !s.PlaintextAuth}
	if s.Cleartext || s.Backend == dialogue.Introduced {
		f.refusal = "ERR FEATURE-NOT-CONFIGURED\n"
	}
	return f
}

// Start implements dialogue.Filter.
func (*filter) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end >= maxLine, end < 0 && len(b) >= maxLine:
		x.CloseFor(dialogue.ErrLineTooLong)
		return len(b)
	case end < 0:
		return 0
	}
	f.command(x, b[:end+1])
	return end + 1
}

func (f *filter) command(x *dialogue.Exchange, line []byte) {
	switch verb, known := commandOf(strings.TrimSuffix(string(line[:len(line)-1]), "\r")); {
	case !known:
		x.ToClient([]byte(unknownCommand))
	case verb == "STARTTLS":
		x.ToClient([]byte(f.refusal))
	case logsIn[verb] && f.refuseAuth:
		x.RefusedLogin()
		x.ToClient([]byte(needsTLS))
	default:
		f.asked = true
		x.ToBackend(line)
		x.Hold()
	}
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	switch {
	case !f.asked, end >= maxLine, end < 0 && len(b) >= maxLine: // it speaks when it is asked, in lines
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case end < 0:
		return 0
	}
	line := b[:end+1]
	x.ToClient(line)
	f.list = !bytes.HasPrefix(line, []byte("END LIST")) && (f.list || bytes.HasPrefix(line, []byte("BEGIN LIST")))
	if !f.list {
		f.asked = false
		x.Release()
	}
	return end + 1
}
