// Package lenient has backends for tests of what stands in front of them. Each
// reads its input as leniently as the most lenient known server of its protocol,
// and notes every command that must never reach a backend through a filter. They
// are state machines: no I/O, no clocks, no goroutines.
package lenient

import (
	"bytes"
	"fmt"
)

// A Backend is the server's side of one connection.
type Backend interface {
	// Greeting is what the server says first; empty where the client does.
	Greeting() []byte

	// Feed takes what has arrived, in parts of any size, and returns the answer.
	Feed(p []byte) (answer []byte)

	// Forbidden lists the commands that have arrived and never should have. What the
	// grammar makes data (message text, literals, answers in a login) is not in it.
	Forbidden() []string
}

// A Quirk is one way in which servers differ. Quirks add up, and those that are
// not about a protocol mean nothing to it.
type Quirk uint32

const (
	// Cleartext is for a client in plaintext that may not send a password: each
	// attempt is forbidden.
	Cleartext Quirk = 1 << iota
	// Bare is a server without an upgrade of its own that grants nothing to an
	// address. Neither command is forbidden then.
	Bare

	// BareCR ends lines at a CR, too.
	BareCR
	// SplitLong takes each 2048 octets of a long line for a line.
	SplitLong
	// DropLong runs the first 2048 octets of a long line and drops the rest.
	DropLong
	// AnyControl takes every control character for white space.
	AnyControl

	// StrictDots ends a message at CRLF.CRLF alone.
	StrictDots
	// SkipNUL reads messages as if there were no NUL in them.
	SkipNUL
	// Chunking announces BDAT and knows it.
	Chunking
	// ScanfSizes reads the size of a chunk as sscanf does with %u.
	ScanfSizes
	// RefuseData refuses DATA, so that commands follow it.
	RefuseData
	// RefuseHello refuses the first introduction.
	RefuseHello
	// RefuseGreeting greets with a refusal, and goes on all the same.
	RefuseGreeting

	// NoLiteralPlus knows no literal that the client does not wait with. ManageSieve
	// has no others.
	NoLiteralPlus
	// GreedyLiterals takes {n+} at the end of any line for a literal.
	GreedyLiterals
	// FewLiterals has literals in those commands only whose grammar has strings.
	FewLiterals
	// Literal8 knows ~{n}.
	Literal8

	// RefuseLogin refuses every login.
	RefuseLogin
	// EarlyStanza answers stanzas before a login.
	EarlyStanza

	// All of them, for fuzzing.
	All = 1<<iota - 1
)

var backends = map[string]func(session) Backend{
	"amqp":     func(s session) Backend { return &amqp{session: s} },
	"ftp":      func(s session) Backend { return &ftp{session: s} },
	"http":     func(s session) Backend { return &http{session: s} },
	"imap":     func(s session) Backend { return &imap{session: s} },
	"irc":      func(s session) Backend { return &irc{session: s} },
	"ldap":     func(s session) Backend { return &ldap{session: s} },
	"lmtp":     func(s session) Backend { return &smtp{session: s, lmtp: true} },
	"mysql":    func(s session) Backend { return &mysql{session: s} },
	"nbd":      func(s session) Backend { return &nbd{session: s} },
	"nntp":     func(s session) Backend { return &nntp{session: s} },
	"pop3":     func(s session) Backend { return &pop3{session: s} },
	"postgres": func(s session) Backend { return &postgres{session: s} },
	"rdp":      func(s session) Backend { return &rdp{session: s} },
	"tds":      func(s session) Backend { return &tds{session: s} },
	"sieve":    newSieve,
	"smtp":     func(s session) Backend { return &smtp{session: s} },
	"telnet":   func(s session) Backend { return &telnet{session: s} },
	"vnc":      func(s session) Backend { return &vnc{session: s} },
	"xmpp":     func(s session) Backend { return &xmpp{session: s, stanzas: "jabber:client"} },

	"xmpp-server": func(s session) Backend { return &xmpp{session: s, stanzas: "jabber:server", servers: true} },
}

// New makes the backend of a protocol, by its name.
func New(protocol string, quirks ...Quirk) (Backend, error) {
	backend, ok := backends[protocol]
	if !ok {
		return nil, fmt.Errorf("no lenient backend for %q", protocol)
	}
	var all Quirk
	for _, q := range quirks {
		all |= q
	}
	return backend(session{quirks: all}), nil
}

const (
	maxLine  = 2048 // for SplitLong and DropLong
	maxNotes = 16
)

// A session is what the backends have in common.
type session struct {
	quirks   Quirk
	buf      []byte // has arrived, and was not read yet
	out      []byte // has been said, and was not returned yet
	notes    []string
	loggedIn bool
	closed   bool // after a farewell nothing is read
	afterCR  bool // the line before ended with CR: an LF belongs to it
}

func (s *session) has(q Quirk) bool { return s.quirks&q != 0 }

// Forbidden implements Backend.
func (s *session) Forbidden() []string { return s.notes }

// run feeds p to step until it wants more.
func (s *session) run(p []byte, step func() bool) []byte {
	s.buf = append(s.buf, p...)
	for !s.closed && step() {
	}
	if s.closed {
		s.buf = nil
	}
	out := s.out
	s.out = nil
	return out
}

func (s *session) say(lines ...string) {
	for _, line := range lines {
		s.out = append(s.out, line+"\r\n"...)
	}
}

func (s *session) bye(lines ...string) {
	s.say(lines...)
	s.closed = true
}

// forbid notes an upgrade, or what is granted to an address alone.
func (s *session) forbid(what string, detail []byte) {
	if !s.has(Bare) {
		s.note(what, detail)
	}
}

// forbidPassword notes a password in plaintext.
func (s *session) forbidPassword(what string, detail []byte) {
	if s.has(Cleartext) {
		s.note(what, detail)
	}
}

func (s *session) note(what string, detail []byte) {
	if len(s.notes) < maxNotes {
		s.notes = append(s.notes, fmt.Sprintf("%s: %.60q", what, detail))
	}
}

// line takes the next line, without its end.
func (s *session) line() (line []byte, ok bool) {
	if s.afterCR && len(s.buf) > 0 {
		s.buf = bytes.TrimPrefix(s.buf, []byte("\n"))
		s.afterCR = false
	}
	ends := "\n"
	if s.has(BareCR) {
		ends = "\r\n"
	}
	end := bytes.IndexAny(s.buf, ends)
	size := end
	if end < 0 {
		size = len(s.buf)
	}
	if s.has(SplitLong) && size >= maxLine {
		line, s.buf = s.buf[:maxLine], s.buf[maxLine:]
		return line, true
	}
	if end < 0 {
		if s.has(DropLong) {
			s.buf = s.buf[:min(len(s.buf), maxLine)]
		}
		return nil, false
	}
	s.afterCR = s.buf[end] == '\r'
	line, s.buf = s.buf[:end], s.buf[end+1:]
	if s.has(DropLong) {
		line = line[:min(len(line), maxLine)]
	}
	return line, true
}

// skip drops up to n octets, and returns how many are still to be dropped.
func (s *session) skip(n int) int {
	k := min(n, len(s.buf))
	s.buf = s.buf[k:]
	return n - k
}

// blank reports whether c separates words.
func (s *session) blank(c byte) bool {
	switch c {
	case ' ', '\t', '\v', '\f', '\r', '\n':
		return true
	}
	return s.has(AnyControl) && (c < ' ' || c == 0x7f)
}

// text is a line as a C program sees it: up to the first NUL, without white space
// around it.
func (s *session) text(line []byte) []byte {
	line, _, _ = bytes.Cut(line, []byte{0})
	for len(line) > 0 && s.blank(line[0]) {
		line = line[1:]
	}
	for len(line) > 0 && s.blank(line[len(line)-1]) {
		line = line[:len(line)-1]
	}
	return line
}

// cut splits the first word off a text.
func (s *session) cut(text []byte) (word string, rest []byte) {
	end := 0
	for end < len(text) && !s.blank(text[end]) {
		end++
	}
	return string(text[:end]), s.text(text[end:])
}

// words are those of a line, the first in upper case.
func (s *session) words(line []byte) (verb string, args []string) {
	word, rest := s.cut(s.text(line))
	verb = upper(word)
	for len(rest) > 0 {
		word, rest = s.cut(rest)
		args = append(args, word)
	}
	return verb, args
}

// upper folds ASCII alone: no server takes U+017F for an S.
func upper(word string) string {
	p := []byte(word)
	for i, c := range p {
		if 'a' <= c && c <= 'z' {
			p[i] = c - 'a' + 'A'
		}
	}
	return string(p)
}

// number reads decimal digits.
func number(digits string) (n int, ok bool) {
	for i := range len(digits) {
		c := digits[i]
		if c < '0' || c > '9' || n > 1<<40 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, digits != ""
}
