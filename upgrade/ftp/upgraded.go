package ftp

import (
	"bytes"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An upgraded backend is the client's own server, so there is nothing that the client must be
// kept from. What is said passes as it arrives, but for what is about TLS and data
// connections.

// intercepted are the commands that do not pass.
var intercepted = append([]string{"PASV", "EPSV", "PORT", "REIN", "FEAT"}, notForClients...)

// passCommand passes on what is not intercepted: whole lines, or a part of one as soon as it
// cannot become a command that is. It returns 0 if more must arrive; mine reports that the
// line is intercepted, and to be read as by the filter of other backends.
func (f *filter) passCommand(x *dialogue.Exchange, b []byte) (n int, mine bool) {
	if !f.midCommand {
		switch become, is := couldBe(b); {
		case is:
			return 0, true
		case become:
			return 0, false
		}
	}
	n = bytes.IndexByte(b, '\n') + 1
	f.midCommand = n == 0
	switch {
	case f.midCommand:
		n = len(b)
	case f.Unanswered() < dialogue.MaxPending:
		f.Expect("")
	}
	x.ToBackend(b[:n])
	return n, false
}

// couldBe reports whether what a line begins with is the verb of a command that is
// intercepted, or could become one.
func couldBe(b []byte) (become, is bool) {
	end := bytes.IndexFunc(b, func(r rune) bool { return !isLetter(r) })
	if end >= 0 {
		return false, slices.Contains(intercepted, dialogue.UpperASCII(b[:end]))
	}
	if len(b) > len("EPSV") {
		return false, false
	}
	word := dialogue.UpperASCII(b)
	return slices.ContainsFunc(intercepted, func(verb string) bool { return strings.HasPrefix(verb, word) }), false
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }

// passReply passes on a part of a line that cannot become a reply. mine reports that it may:
// then the whole line is needed.
func (f *filter) passReply(x *dialogue.Exchange, b []byte) (n int, mine bool) {
	end := bytes.IndexByte(b, '\n')
	if !f.midReply && (end >= 0 || isDigit(b[0]) || f.Next() != "") {
		return 0, true
	}
	f.midReply = end < 0
	n = end + 1
	if f.midReply {
		n = len(b)
	}
	x.ToClient(b[:n])
	return n, false
}

// ClientEnded passes on the beginning of a line that did not become a command.
func (f *filter) ClientEnded(x *dialogue.Exchange, rest []byte) {
	if f.upgraded {
		x.ToBackend(rest)
	}
}
