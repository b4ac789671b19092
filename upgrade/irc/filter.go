package irc

import (
	"bytes"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxTags bounds the tags of a client's line, in octets (IRCv3, message-tags).
const maxTags = 4096

// A filter joins a client to a server. Of the capabilities that the server announces it
// takes out tls, and refuses the client's STARTTLS, since there are servers that offer both
// for as long as a client is not registered. It refuses WEBIRC, with which a gateway says
// who the client is: the address that a server lets do so may be ours. It leaves with the
// welcome, 001, but for a client in plaintext that may not send a password: such a one may
// do so at any time. A password in a message to a service, such as NickServ, is a message.
type filter struct {
	hostname   string // ours
	refusal    string // of the client's STARTTLS
	refuseAuth bool   // the client is in plaintext, and may not log in
	notices    []byte // to begin with

	skipping   bool // to the end of a line that was refused
	tags       bool // the client may send tags
	spoke      bool // the backend has
	registered bool
	quit       bool // the client has taken its leave
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return newInside(s)
	}
	f := &filter{hostname: s.Options.Hostname, refusal: "691 * :STARTTLS failed (TLS is active already)"}
	switch {
	case s.Backend == dialogue.Introduced:
		f.refusal, f.notices = "691 * :STARTTLS failed (the server does not offer it)", s.Kept
	case s.Cleartext:
		f.refusal, f.refuseAuth = "691 * :STARTTLS failed (it must come first)", !s.PlaintextAuth
	}
	return f
}

// Start implements dialogue.Filter.
func (f *filter) Start(x *dialogue.Exchange) {
	x.ToClient(f.notices)
	f.notices = nil
}

// BackendEnded reports a backend that ended without a word.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if !f.spoke {
		x.CloseFor(dialogue.ErrBackend)
	}
}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	size := end + 1
	if end < 0 {
		size = len(b)
	}
	switch {
	case f.skipping:
		f.skipping = end < 0
		return size
	case size > f.limit(b), end < 0 && size == f.limit(b):
		f.refuse(x, lineTooLong) // some servers cut it, and take the rest for another
		f.skipping = end < 0
		return size
	case end < 0:
		return 0
	}
	f.command(x, b[:size])
	return size
}

// limit is that of the line that b begins with. A server that does not know tags counts
// them as others do the rest.
func (f *filter) limit(b []byte) int {
	if f.tags && b[0] == '@' {
		return maxTags + maxLine
	}
	return maxLine
}

func (f *filter) command(x *dialogue.Exchange, line []byte) {
	m := parse(line)
	words, login := needsTLS[m.verb]
	switch {
	case !m.wellFormed, m.tags && !f.tags:
		f.refuse(x, "421 * * :Unknown command")
	case m.verb == "STARTTLS":
		f.refuse(x, f.refusal)
	case m.verb == "WEBIRC":
		f.refuse(x, "421 * WEBIRC :Unknown command")
	case login && f.refuseAuth:
		x.RefusedLogin()
		f.refuse(x, words)
	default:
		f.quit = f.quit || m.verb == "QUIT"
		x.ToBackend(line)
	}
}

// refuse answers in the backend's place.
func (f *filter) refuse(x *dialogue.Exchange, words string) {
	x.ToClient(dialogue.CRLF([]string{numeric(f.hostname, words)}))
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	f.spoke = true
	end := bytes.IndexByte(b, '\n')
	switch {
	case end >= dialogue.MaxFiltered, end < 0 && len(b) >= dialogue.MaxFiltered:
		x.CloseFor(dialogue.ErrBackend) // no line that anybody knows is that long
		return len(b)
	case end < 0:
		return 0
	}
	line := b[:end+1]
	switch m := parse(line); {
	case m.verb == "CAP":
		line = f.capabilities(line, m)
	case m.verb == "ERROR" && !f.registered && !f.quit:
		x.Refused()
	case m.verb == "001" && m.source:
		f.registered = true
	}
	x.ToClient(line)
	if f.registered && !f.refuseAuth {
		x.Detach()
	}
	return end + 1
}

// capabilities takes those that are not for the client out of a list of what there is, and
// looks for tags in one of what is granted.
func (f *filter) capabilities(line []byte, m message) []byte {
	words := strings.Fields(string(m.args))
	if len(words) < 3 {
		return line
	}
	begin := 2 // of the list, behind the client's name and the command
	if words[begin] == "*" {
		begin++
	}
	list := strings.Split(strings.TrimPrefix(strings.Join(words[begin:], " "), ":"), " ")
	command := dialogue.UpperASCII([]byte(words[1]))
	var left []string
	for _, name := range list {
		f.tags = f.tags || command == "ACK" && name == "message-tags"
		if !f.hides(name) {
			left = append(left, name)
		}
	}
	if command != "LS" && command != "NEW" || len(left) == len(list) {
		return line
	}
	text := dialogue.TrimTerminator(line)
	head := append(line[:len(text)-len(m.args):len(text)-len(m.args)], strings.Join(words[:begin], " ")+" :"+strings.Join(left, " ")...)
	return append(head, line[len(text):]...)
}

// hides reports whether a capability is not for the client.
func (f *filter) hides(capability string) bool {
	name, _, _ := strings.Cut(capability, "=")
	return dialogue.EqualASCII(name, "tls") || f.refuseAuth && dialogue.EqualASCII(name, "sasl")
}
