package upgrade

import (
	"math"
	"strings"
)

const sieveNoLogin = `the ManageSieve backend announces "SASL" "", so that nobody can log in: let it take passwords ` +
	"without TLS of its own (Dovecot: disable_plaintext_auth=no, since 2.4 auth_allow_cleartext=yes; " +
	"Cyrus: allowplaintext: yes), or tell it of the client's TLS with the PROXY protocol"

// sieveRejoin joins a client inside TLS to a backend that starts afresh. Nothing
// is swallowed: the client waits for the capabilities that the backend greets
// with, however it has come to TLS. Only "STARTTLS" is taken out of them, until the
// client has logged in. A client that goes on in clear has had a greeting, though.
type sieveRejoin struct {
	lineFilter
	replyQueue        // begins with the greeting
	refusal    string // of the client's STARTTLS
	plain      bool   // the client goes on in clear

	stripped bool // the backend offers what is not for the client
	warned   bool

	verb     string // of the client's present command
	rest     bool   // its next line goes on behind a literal
	dialogue bool   // its next line answers a challenge

	status string // of the backend's present response
	midway bool   // it goes on behind a literal
}

func newSieveRejoin(s *Session) Filter {
	f := &sieveRejoin{plain: s.Plain(), refusal: `"TLS is already active."`}
	if f.plain {
		f.refusal = `"STARTTLS must come first."`
	}
	f.client, f.backend, f.clientTail = f.fromClient, f.fromBackend, f.tooLong
	f.expect("greeting")
	return f
}

// Start implements Filter.
func (f *sieveRejoin) Start(x *Exchange) { x.Hold() }

// BackendEnded reports a backend that ended before or in its greeting.
func (f *sieveRejoin) BackendEnded(x *Exchange) {
	if f.next() == "greeting" {
		x.EndFor(ErrBackend)
	}
}

func (f *sieveRejoin) fromBackend(x *Exchange, line []byte) {
	text := trimLine(line)
	if !f.midway {
		f.status = sieveStatus(text)
		if f.capability(x, text) {
			return
		}
	}
	if swallow := f.plain && f.next() == "greeting"; !swallow || f.status != "" && f.status != "OK" {
		x.ToClient(line)
	}
	n, _, ok := announcedLiteral(text)
	f.midway = ok
	if ok {
		f.backendLiteral = int(min(n, math.MaxInt))
		return
	}
	f.answered(x)
}

// capability looks at the lines of a list of capabilities; done means that the
// line is not to be passed on.
func (f *sieveRejoin) capability(x *Exchange, text string) (done bool) {
	next := f.next()
	switch {
	case next != "greeting" && next != "CAPABILITY", f.status != "":
		return false
	case isSieveSTARTTLS(text), sieveCapability(text) == `"XCLIENT"`:
		f.stripped = true // Dovecot offers XCLIENT to addresses that it trusts, such as ours
		return true
	case next == "greeting" && !sieveData(text):
		x.EndFor(ErrBackend)
		return true
	case !f.warned && isSieveNoLogin(text):
		f.warned = true
		x.Warn(sieveNoLogin)
	}
	return false
}

// answered follows the end of a response, or of a challenge in AUTHENTICATE.
func (f *sieveRejoin) answered(x *Exchange) {
	if f.status == "" {
		if f.next() == "AUTHENTICATE" {
			f.dialogue = true
			x.Release()
		}
		return
	}
	switch verb := f.replied(x); {
	case verb == "greeting" && f.status != "OK":
		x.End(nil)
	case verb == "greeting" && !f.stripped, verb == "AUTHENTICATE" && f.status == "OK":
		x.Done()
	case verb == "greeting" || verb == "AUTHENTICATE":
		f.dialogue = false
		x.Release()
	}
}

func (f *sieveRejoin) fromClient(x *Exchange, line []byte) {
	text := trimLine(line)
	n, waits, ok := announcedLiteral(text)
	ok = ok && !waits
	if !f.rest && !f.dialogue && !f.command(x, text, ok) {
		return
	}
	x.ToBackend(line)
	f.rest = ok
	switch {
	case ok:
		f.clientLiteral = int(min(n, math.MaxInt))
	case f.verb == "AUTHENTICATE":
		f.dialogue = false
		x.Hold() // the response says what follows: a command, an answer, or nothing of ours
	}
}

// command looks at the beginning of a command, and answers STARTTLS: a backend
// that has TLS of its own would accept it.
func (f *sieveRejoin) command(x *Exchange, text string, literal bool) (pass bool) {
	f.verb = ""
	if words := strings.Fields(text); len(words) > 0 {
		f.verb = strings.ToUpper(words[0])
	}
	switch {
	case f.verb == "XCLIENT" && !literal:
		f.reply(x, "NO \"Command not available.\"\r\n")
		return false
	case f.verb != "STARTTLS":
		f.expect(f.verb)
		return true
	case literal:
		x.End(crlf([]string{"BYE " + f.refusal})) // the literal has nowhere to go
	default:
		f.reply(x, "NO "+f.refusal+"\r\n")
	}
	return false
}

// tooLong follows the end of a line that was not looked at.
func (f *sieveRejoin) tooLong(x *Exchange, _ []byte) {
	switch {
	case f.dialogue:
		f.dialogue = false
		x.Hold()
	case !f.rest:
		f.verb = ""
		f.expect("")
	}
	f.rest = false
}
