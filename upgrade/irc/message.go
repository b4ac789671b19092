package irc

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A message is a line of IRC: tags, a source, a verb and parameters, RFC 2812 section 2.3.1
// and IRCv3's message-tags. Before the verb it is read as by the most lenient server.
type message struct {
	tags, source bool
	from         string // the source
	verb         string // in upper case
	args         []byte // what is behind the verb and a blank

	blank      bool // there is nothing in it
	wellFormed bool // servers do not read it in different ways
}

// parse takes a line apart, with its terminator or without.
func parse(line []byte) (m message) {
	text := dialogue.TrimTerminator(line)
	rest := bytes.TrimLeft(text, " ")
	m.blank = len(rest) == 0
	if m.tags = bytes.HasPrefix(rest, []byte("@")); m.tags {
		_, rest = word(rest)
	}
	if m.source = bytes.HasPrefix(rest, []byte(":")); m.source {
		var from []byte
		from, rest = word(rest)
		m.from = string(from[1:])
	}
	verb, args := word(rest)
	m.args = args
	if dialogue.IsKeyword(string(verb), "") {
		m.verb = dialogue.UpperASCII(verb)
	}
	// Some servers take a NUL for a blank, and a CR for nothing. Other control characters
	// belong to what people write, and to nothing in front of that.
	head := text[:len(text)-len(args)]
	m.wellFormed = (m.verb != "" || m.blank) && !bytes.ContainsAny(text, "\x00\r") && dialogue.Printable(string(head)) &&
		!bytes.ContainsRune(head, '\t')
	return m
}

// word cuts the first word off a text, and the blanks behind it.
func word(text []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(text, []byte(" "))
	return first, bytes.TrimLeft(rest, " ")
}

// match knows a client by the first thing that it says: CAP, or who it is, or STARTTLS.
func match(prefix []byte) dialogue.Verdict {
	undecided := false
	for _, begin := range []string{"CAP ", "NICK ", "USER ", "PASS ", "STARTTLS\r\n", "STARTTLS\n"} {
		switch dialogue.MatchLiteral([]byte(dialogue.UpperASCII(prefix)), []byte(begin)) {
		case dialogue.Matched:
			return dialogue.Matched
		case dialogue.NeedMore:
			undecided = true
		case dialogue.NoMatch:
		}
	}
	if undecided {
		return dialogue.NeedMore
	}
	return dialogue.NoMatch
}
