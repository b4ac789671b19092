package sieve

import (
	"bytes"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

const noLogin = `the ManageSieve backend announces "SASL" "", so that nobody can log in: let it take passwords ` +
	"without TLS of its own (Dovecot: disable_plaintext_auth=no, since 2.4 auth_allow_cleartext=yes; " +
	"Cyrus: allowplaintext: yes), or tell it of the client's TLS with the PROXY protocol"

const trusts = "the ManageSieve backend offers XCLIENT to this proxy's address; clients are kept from using it, but take " +
	"the address out of login_trusted_networks (Dovecot), and tell the backend of clients with send_proxy_protocol instead"

// granted are the commands by which a backend lets a proxy speak for its clients.
var granted = []string{"XCLIENT", "PROXY"}

var rules = dialogue.CommandRules{
	Line:   8192,
	Answer: 16 << 10,
	Long:   []string{"AUTHENTICATE"},
	Quoted: true,

	SyntaxError: "NO \"Syntax error.\"\r\n",
	TooLong:     "NO \"Line too long.\"\r\n",
}

// A filter joins a client inside TLS to a backend that starts afresh. Nothing
// is swallowed: the client waits for the capabilities that the backend greets
// with, however it has come to TLS. Only "STARTTLS" and "XCLIENT" are taken out of them. A
// client that stays in plaintext has had a greeting, though. It leaves when the client has
// logged in.
type filter struct {
	dialogue.CommandFilter
	refusal string // of the client's STARTTLS
	greeted bool   // the client has had a greeting

	noLogin bool // that nobody can log in has been warned of
	trusts  bool // that the backend trusts us has been warned of

	begun command // what the client's next line goes on with

	status string // of the backend's present response
	midway bool   // it goes on behind a literal
}

// A command is one of the client's that goes on behind a literal.
type command struct {
	login    bool // AUTHENTICATE, as against NOOP
	refused  bool // the backend does not get it
	complete bool // no argument may follow
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return announcing{}
	}
	f := &filter{greeted: s.Cleartext && s.Client != dialogue.Unheard, refusal: `"TLS is already active."`}
	switch {
	case s.Backend == dialogue.Introduced:
		f.refusal = `"Unknown command."` // it was not offered to us either
	case s.Cleartext:
		f.refusal = `"STARTTLS must come first."`
	}
	f.Init(f, rules)
	return f
}

// announcing waits for a server that has been upgraded to list its capabilities once more
// (RFC 5804 section 2.2), which it does unasked. It has nothing to hide from the client.
type announcing struct{}

// Start implements dialogue.Filter.
func (announcing) Start(x *dialogue.Exchange) { x.Await() }

// FromClient implements dialogue.Filter.
func (announcing) FromClient(x *dialogue.Exchange, b []byte) int {
	x.ToBackend(b)
	return len(b)
}

// FromBackend implements dialogue.Filter.
func (announcing) FromBackend(x *dialogue.Exchange, _ []byte) int {
	x.Detach()
	return 0
}

// BackendEnded reports a backend that ended before or in its greeting.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if f.Next() == dialogue.Greeting {
		x.CloseFor(dialogue.ErrBackend)
	}
	f.Forget()
}

// Reply implements dialogue.Grammar.
func (f *filter) Reply(x *dialogue.Exchange, line []byte) {
	if !f.midway {
		f.status = status(dialogue.TrimLine(line))
		if f.capability(x, line) {
			return
		}
	}
	if swallow := f.greeted && f.Next() == dialogue.Greeting; !swallow || f.status != "" && f.status != "OK" {
		x.ToClient(line)
	}
	n, _, ok := dialogue.AnnouncedLiteral(dialogue.TrimLine(line))
	f.midway = ok
	if ok {
		f.PassReplyPayload(n)
		return
	}
	f.answered(x)
}

// capability looks at the lines of a list of capabilities, and reports whether one is not
// to be passed on.
func (f *filter) capability(x *dialogue.Exchange, line []byte) (drop bool) {
	next, name := f.Next(), capability(dialogue.TrimLine(line))
	switch {
	case next != dialogue.Greeting && next != "CAPABILITY", f.status != "":
		return false
	case name == `"STARTTLS"`:
		return true
	case name == `"XCLIENT"`:
		if !f.trusts {
			f.trusts = true
			x.Warn(trusts)
		}
		return true
	case next == dialogue.Greeting && !isData(dialogue.TrimLine(line)):
		x.CloseFor(dialogue.ErrBackend)
		return true
	case !f.noLogin && isNoLogin(dialogue.TrimLine(line)):
		f.noLogin = true
		x.Warn(noLogin)
	}
	return false
}

// answered takes the end of a response, or of a challenge in AUTHENTICATE.
func (f *filter) answered(x *dialogue.Exchange) {
	if f.status == "" {
		if f.Next() == "AUTHENTICATE" {
			f.Anew()
			f.Challenged(x)
		}
		return
	}
	switch verb := f.Replied(x); {
	case verb == dialogue.Greeting && f.status != "OK":
		x.Close(nil)
	case verb == "AUTHENTICATE" && f.status == "OK":
		x.Detach()
	case verb == dialogue.Greeting, verb == "AUTHENTICATE":
		f.Anew() // of a command that was refused before its end, nothing follows
		f.GoOn(x)
	}
}

// Command implements dialogue.Grammar. Only AUTHENTICATE and NOOP are read with their
// arguments before the login: behind another verb a server may take the octets of a
// literal for commands. A literal that waits is not ManageSieve: some servers refuse it,
// others read on without a word.
func (f *filter) Command(x *dialogue.Exchange, verb string, line []byte) {
	scan := dialogue.ScanArguments(line, false)
	before, ok := arguments(line)
	login := verb == "AUTHENTICATE"
	switch {
	case verb == "STARTTLS":
		f.refuse(x, "NO "+f.refusal, scan) // a backend that has TLS of its own would accept it
	case slices.Contains(granted, verb):
		f.refuse(x, `NO "Command not available."`, scan)
	case !scan.Sound(), scan.Literal && (scan.Waits || !ok || !login && (verb != "NOOP" || before > 0) || before > 1):
		f.refuse(x, `NO "Syntax error."`, scan)
	case scan.Literal && scan.Octets > dialogue.MaxFiltered:
		f.refuse(x, `NO "Literal too long."`, scan)
	case scan.Literal:
		f.forwardLiteral(x, verb, line, scan)
	case login:
		f.ForwardAndWait(x, verb, line)
	case verb == "CAPABILITY":
		f.Forward(x, verb, line)
	default:
		f.Forward(x, "", line)
	}
}

// refuse answers a command in the backend's place. A literal that follows is dropped, and
// what is behind that.
func (f *filter) refuse(x *dialogue.Exchange, reply string, scan dialogue.ArgumentScan) {
	f.Refuse(x, reply+"\r\n")
	if scan.Literal && !scan.Waits {
		f.begun = command{refused: true}
		f.DropPayload(scan.Octets)
		f.Continue()
	}
}

// forwardLiteral passes on a command that goes on behind a literal.
func (f *filter) forwardLiteral(x *dialogue.Exchange, verb string, line []byte, scan dialogue.ArgumentScan) {
	f.begun = command{login: verb == "AUTHENTICATE"}
	before, _ := arguments(line)
	f.begun.complete = !f.begun.login || before == 1
	if f.begun.login {
		f.Forward(x, verb, line)
	} else {
		f.Forward(x, "", line)
	}
	f.ReadPayload(int(scan.Octets))
	f.Continue()
}

// Payload implements dialogue.ArgumentGrammar. A server that refuses a command before its
// end takes the octets of its literal for commands, so there may be none among them that is
// not for it.
func (f *filter) Payload(x *dialogue.Exchange, octets []byte) {
	for line := range bytes.Lines(octets) {
		if !harmless(line) {
			x.CloseFor(dialogue.ErrMalformed)
			return
		}
	}
	x.ToBackend(octets)
}

// harmless reports whether a line is no command that the client must be kept from, and
// does not seem to announce a literal.
func harmless(line []byte) bool {
	word := dialogue.FirstWord(bytes.TrimLeft(line, "\x00\v\f\r"))
	_, _, literal := dialogue.AnnouncedLiteral(dialogue.TrimLine(line))
	return word != "STARTTLS" && word != "AUTHENTICATE" && !slices.Contains(granted, word) && !literal && dialogue.WellFormed(line)
}

// Rest implements dialogue.ArgumentGrammar.
func (f *filter) Rest(x *dialogue.Exchange, line []byte) {
	scan := dialogue.ScanArguments(line, false)
	switch c := &f.begun; {
	case c.refused:
		if scan.Literal && !scan.Waits {
			f.DropPayload(scan.Octets)
			f.Continue()
		}
	case !scan.Sound(), !f.mayFollow(line, scan):
		x.CloseFor(dialogue.ErrMalformed) // its beginning is with the backend already
	case scan.Literal:
		c.complete = true
		x.ToBackend(line)
		f.ReadPayload(int(scan.Octets))
		f.Continue()
	case c.login:
		f.PassAnswer(x, line)
	default:
		x.ToBackend(line)
	}
}

// mayFollow reports whether a line can go on with the command: with nothing, or with the
// one argument that may be missing.
func (f *filter) mayFollow(line []byte, scan dialogue.ArgumentScan) bool {
	text := bytes.Trim(dialogue.TrimTerminator(line), " \t")
	switch {
	case len(text) == 0:
		return true
	case f.begun.complete || line[0] != ' ' && line[0] != '\t':
		return false
	case scan.Literal:
		return !scan.Waits && text[0] == '{' && scan.Octets <= dialogue.MaxFiltered
	}
	return isQuoted(string(text))
}

// Answer implements dialogue.ArgumentGrammar: an answer is a string.
func (f *filter) Answer(x *dialogue.Exchange, line []byte) {
	scan := dialogue.ScanArguments(line, true)
	switch {
	case !scan.Sound(), scan.Literal && (scan.Waits || line[0] != '{' || scan.Octets > dialogue.MaxFiltered):
		x.CloseFor(dialogue.ErrMalformed)
	case scan.Literal:
		f.begun = command{login: true, complete: true}
		x.ToBackend(line)
		f.ReadPayload(int(scan.Octets))
		f.Continue()
	default:
		f.PassAnswer(x, line)
	}
}

// arguments counts the quoted strings behind the verb of a line, up to a literal; ok is
// false if there is anything else.
func arguments(line []byte) (n int, ok bool) {
	text := bytes.Trim(dialogue.TrimTerminator(line), " \t")
	verb := bytes.IndexAny(text, " \t")
	if verb < 0 {
		return 0, true
	}
	for text = text[verb:]; ; n++ {
		text = bytes.TrimLeft(text, " \t")
		switch {
		case len(text) == 0 || text[0] == '{':
			return n, true
		case text[0] != '"':
			return n, false
		}
		end := quotedEnd(text)
		if end < 0 {
			return n, false
		}
		text = text[end:]
	}
}

// quotedEnd is where the quoted string ends that text begins with, or -1.
func quotedEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}
