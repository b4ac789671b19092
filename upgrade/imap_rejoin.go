package upgrade

import (
	"bytes"
	"math"
	"slices"
	"strings"
)

const imapLoginDisabled = "the IMAP backend announces LOGINDISABLED, so that nobody can log in: let it take " +
	"passwords without TLS of its own (Dovecot: disable_plaintext_auth=no, since 2.4 auth_allow_cleartext=yes; " +
	"Cyrus: allowplaintext: yes), or tell it of the client's TLS with the PROXY protocol"

const imapPreauth = "the IMAP backend greets with PREAUTH, which cannot be passed on to a client that is past the " +
	"greeting: let it ask for a login"

// imapRejoin joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and
// takes STARTTLS out of all lists of capabilities, which a server may send until
// the login. A first list without it was all that was to be done.
type imapRejoin struct {
	lineFilter
	refusal string // of the client's STARTTLS
	direct  bool   // the client is to have the greeting

	greeted  bool
	stripped bool // the backend offers STARTTLS
	warned   bool

	rest    bool   // the client's next line goes on behind a literal
	tag     string // of the client's present command
	waiting int    // size of the literal that it waits with for a "+", or -1
	auth    string // tag of an AUTHENTICATE that has no answer yet
	logins  []string

	midway bool   // the backend's response goes on behind a literal
	owed   []byte // our own replies, until the response ends
}

func newIMAPRejoin(s *Session) Filter {
	f := &imapRejoin{waiting: -1, direct: s.Direct(), refusal: " BAD TLS is already active\r\n"}
	if s.Plain() {
		f.refusal = " BAD STARTTLS must come first\r\n"
	}
	f.client, f.backend, f.clientTail = f.fromClient, f.fromBackend, f.tooLong
	return f
}

// Start implements Filter.
func (f *imapRejoin) Start(x *Exchange) { x.Hold() }

// BackendEnded reports a backend that ended before its greeting.
func (f *imapRejoin) BackendEnded(x *Exchange) {
	if !f.greeted {
		x.EndFor(ErrBackend)
	}
}

// FromBackend implements Filter. A line that is too long to be looked at could offer
// STARTTLS, and no backend has one to say before the login.
func (f *imapRejoin) FromBackend(x *Exchange, b []byte) int {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if f.backendLiteral == 0 && len(line) >= maxFilterLine {
		x.EndFor(ErrBackend)
		return len(b)
	}
	return f.lineFilter.FromBackend(x, b)
}

func (f *imapRejoin) fromBackend(x *Exchange, line []byte) {
	text := trimLine(line)
	tag, word, _ := imapResponse(text)
	switch {
	case f.midway:
		x.ToClient(line)
		f.expectLiteral(text)
		f.payOwed(x)
		return
	case !f.greeted:
		f.greeting(x, line)
		return
	case tag == "+":
		x.ToClient(line)
		f.goOn(x)
	default:
		x.ToClient(f.strip(x, line))
		if tag == "*" && !imapStatus(word) {
			f.expectLiteral(text)
		}
	}
	f.payOwed(x)
	switch {
	case tag != "*":
		f.tagged(x, tag, word)
	case f.onlyList(text):
		x.Done()
	}
}

// expectLiteral lets the octets of a literal pass unread, wherever a response has
// one. A server's literals are never waited for.
func (f *imapRejoin) expectLiteral(text string) {
	n, _, ok := announcedLiteral(text)
	f.midway = ok
	f.backendLiteral = int(min(n, math.MaxInt))
}

func (f *imapRejoin) greeting(x *Exchange, line []byte) {
	f.greeted = true
	text := trimLine(line)
	tag, word, _ := imapResponse(text)
	switch {
	case tag == "*" && word == "BYE":
		x.End(line)
	case tag == "*" && word == "PREAUTH" && f.direct:
		x.ToClient(f.strip(x, line))
		x.Done()
	case tag == "*" && word == "PREAUTH":
		x.Warn(imapPreauth)
		x.End([]byte("* BYE Backend session is preauthenticated\r\n"))
	case tag != "*" || word != "OK":
		x.EndFor(ErrBackend)
	default:
		kept := f.strip(x, line)
		if f.direct {
			x.ToClient(kept)
		}
		x.Release()
		f.holdAgain(x)
		if f.onlyList(text) {
			x.Done()
		}
	}
}

// strip returns a response without the word STARTTLS in its capabilities.
func (f *imapRejoin) strip(x *Exchange, line []byte) []byte {
	text := trimLine(line)
	before, list, after, ok := imapList(text)
	if !ok {
		return line
	}
	words := strings.Split(list, " ")
	if !f.warned && slices.ContainsFunc(words, isLoginDisabled) {
		f.warned = true
		x.Warn(imapLoginDisabled)
	}
	if !slices.ContainsFunc(words, isSTARTTLS) {
		return line
	}
	f.stripped = true
	list = strings.Join(slices.DeleteFunc(words, isSTARTTLS), " ")
	return append([]byte(before+list+after), line[len(text):]...)
}

// onlyList tells whether a response has shown that nothing is to be stripped.
func (f *imapRejoin) onlyList(text string) bool {
	_, _, _, ok := imapList(text)
	return ok && !f.stripped
}

// goOn follows a "+": the client sends the literal that it waits with, or its
// next answer in AUTHENTICATE.
func (f *imapRejoin) goOn(x *Exchange) {
	if f.waiting >= 0 {
		f.clientLiteral, f.waiting = f.waiting, -1
	}
	x.Release()
}

// tagged follows the end of a command. One that was refused before its literal
// was sent is over, too.
func (f *imapRejoin) tagged(x *Exchange, tag, word string) {
	if f.waiting >= 0 && tag == f.tag {
		f.waiting, f.rest = -1, false
		x.Release()
	}
	if f.auth != "" && tag == f.auth {
		f.auth = ""
		x.Release()
	}
	i := slices.Index(f.logins, tag)
	if i < 0 {
		return
	}
	f.logins = slices.Delete(f.logins, i, i+1)
	if word == "OK" {
		x.Done()
	}
}

func (f *imapRejoin) fromClient(x *Exchange, line []byte) {
	text := trimLine(line)
	if f.auth == "" && !f.rest && !f.command(x, text) {
		return
	}
	x.ToBackend(line)
	n, waits, ok := announcedLiteral(text)
	f.rest = ok && f.auth == ""
	switch size := int(min(n, math.MaxInt)); {
	case f.rest && waits:
		f.waiting = size
	case f.rest:
		f.clientLiteral = size
	}
	f.holdAgain(x)
}

// tooLong follows the end of a line that was not looked at.
func (f *imapRejoin) tooLong(x *Exchange, _ []byte) {
	f.rest = false
	f.holdAgain(x)
}

// holdAgain holds what the client sends behind a literal that it should wait with
// and behind an answer in AUTHENTICATE: the backend decides what it is.
func (f *imapRejoin) holdAgain(x *Exchange) {
	if f.waiting >= 0 || f.auth != "" {
		x.Hold()
	}
}

// command looks at the beginning of a command, and answers STARTTLS. Blanks do
// not matter here, since there may be backends to which they do not.
func (f *imapRejoin) command(x *Exchange, text string) (pass bool) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return true
	}
	f.tag = words[0]
	switch strings.ToUpper(words[1]) {
	case "STARTTLS":
		f.secondSTARTTLS(x, text)
		return false
	case "AUTHENTICATE":
		f.auth = f.tag
		f.logins = append(f.logins, f.tag)
	case "LOGIN":
		f.logins = append(f.logins, f.tag)
	case "COMPRESS":
		x.Done() // what follows is no text any more (RFC 4978)
	}
	return true
}

// secondSTARTTLS refuses it ourselves, since a backend that has TLS of its own
// would accept it.
func (f *imapRejoin) secondSTARTTLS(x *Exchange, text string) {
	tag := f.tag
	if !imapTag(tag) {
		tag = "*"
	}
	f.owed = append(f.owed, tag+f.refusal...)
	if _, waits, ok := announcedLiteral(text); ok && !waits {
		x.End(f.owed) // the literal that follows has nowhere to go
		return
	}
	f.payOwed(x)
}

// payOwed sends our own replies where the backend is not amid one of its own.
func (f *imapRejoin) payOwed(x *Exchange) {
	if !f.midway {
		x.ToClient(f.owed)
		f.owed = nil
	}
}
