package upgrade

import (
	"bytes"
	"errors"
	"strings"
)

// POP3 upgrades with STLS, RFC 2595 section 4.
var POP3 = &Protocol{
	Name:          "pop3",
	ServerFirst:   true,
	ALPN:          []string{"pop3"},
	CheckGreeting: pop3CheckGreeting,
	Accept:        pop3Accept,
	Request:       pop3Request,
	Farewell:      pop3Farewell,
	Rejoin:        newPOP3Rejoin,
	Greeting:      "+OK %s POP3 server ready",
}

func pop3CheckGreeting(text string) error {
	if strings.ContainsAny(text, "<>") {
		return errors.New("must not contain angle brackets, which make it an APOP challenge")
	}
	return nil
}

// pop3Accept greets without a timestamp: it would be the challenge for APOP
// (RFC 1939 section 7), and not the backend's.
func pop3Accept(s *Session) error {
	err := s.Reply("+OK " + s.Hostname() + " " + s.Greeting("POP3 server ready"))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := splitVerb(line)
		if verb == "STLS" && arg == "" {
			return s.GoAhead("+OK Begin TLS negotiation")
		}
		err = pop3Command(s, verb)
	}
	return err
}

// pop3Command answers everything but STLS. The response code AUTH of RFC 3206
// would fit a refused login, but makes clients ask for another password.
func pop3Command(s *Session, verb string) error {
	switch verb {
	case "CAPA":
		return s.Reply(pop3OwnList(s)...)
	case "QUIT":
		return errors.Join(s.Reply("+OK Bye"), ErrQuit)
	case "STLS":
		return s.Refuse("-ERR Syntax error (no parameters allowed)")
	case "USER", "PASS", "APOP", "AUTH":
		return s.Insist(true, "-ERR Must issue a STLS command first")
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return ErrMalformed // a browser sent here by an attacker
	}
	return s.Refuse("-ERR Command not recognized before STLS")
}

// pop3OwnList has no USER, which would invite clients to send a password in clear.
func pop3OwnList(s *Session) []string {
	list := append([]string{"+OK Capability list follows"}, s.Capabilities()...)
	if s.PlaintextAuth() {
		list = append(list, "USER")
	}
	return append(list, "STLS", ".")
}

// pop3Farewell says nothing to a client that took too long, as RFC 1939 section 3
// demands.
func pop3Farewell(_ *Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, ErrPipelined):
		text = "Nothing may follow STLS"
	case errors.Is(why, ErrLineTooLong):
		text = "Line too long"
	case errors.Is(why, ErrMalformed):
		text = "Command not recognized"
	case errors.Is(why, ErrPlaintext):
		text = "Must issue a STLS command first"
	case errors.Is(why, ErrTooMany):
		text = "Too many errors"
	case errors.Is(why, ErrBackend):
		text = "[SYS/TEMP] " + unavailableText(why, "Backend not available")
	default:
		return nil
	}
	return crlf([]string{"-ERR " + text})
}

func pop3Request(s *Session) error {
	if err := pop3Expect(s, ErrRefused); err != nil {
		return err
	}
	if err := s.Reply("CAPA"); err != nil {
		return err
	}
	// RFC 2595 section 4 has servers with STLS list it, and so answer CAPA.
	if err := pop3Expect(s, ErrNotOffered); err != nil {
		return err
	}
	offered, login := false, false
	for {
		line, err := s.ReadLine()
		if err != nil {
			return err
		}
		if line == "." {
			break
		}
		offered = offered || strings.EqualFold(strings.TrimSpace(line), "STLS")
		login = login || isPOP3Login([]byte(line))
	}
	s.SetPlaintextLogin(login)
	if !offered {
		return ErrNotOffered
	}
	if err := s.Reply("STLS"); err != nil {
		return err
	}
	return pop3Expect(s, ErrRefused)
}

// isPOP3Login knows the capabilities that are ways to log in (RFC 2449 section 6.3,
// RFC 5034 section 3).
func isPOP3Login(line []byte) bool {
	words := bytes.Fields(bytes.ToUpper(line))
	return len(words) == 1 && string(words[0]) == "USER" || len(words) > 1 && string(words[0]) == "SASL"
}

// pop3Expect reads a line that says yes.
func pop3Expect(s *Session, otherwise error) error {
	line, err := s.ReadLine()
	if err != nil {
		return err
	}
	switch status, _, _ := strings.Cut(line, " "); status {
	case "+OK":
		return nil
	case "-ERR":
		return refusal(otherwise, line)
	}
	return ErrMalformed
}

const pop3NoLogin = "the POP3 backend offers no way to log in: let it take passwords without TLS of its own " +
	"(Dovecot: disable_plaintext_auth=no, since 2.4 auth_allow_cleartext=yes; Cyrus: allowplaintext: yes), " +
	"or tell it of the client's TLS with the PROXY protocol"

// pop3Rejoin joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and
// takes STLS out of the answers to CAPA, until one of them has no STLS or the client
// has logged in: there is no STLS after that.
type pop3Rejoin struct {
	lineFilter
	replyQueue        // begins with the greeting
	refusal    string // of the client's STLS
	direct     bool   // the client is to have the greeting

	list     bool // amid the answer to CAPA
	stripped bool // it had something that is not for the client
	login    bool // it had a way to log in
	warned   bool

	dialogue bool // the client's next line answers a "+"
}

func newPOP3Rejoin(s *Session) Filter {
	f := &pop3Rejoin{direct: s.Direct(), refusal: "-ERR Command not permitted when TLS active\r\n"}
	if s.Plain() {
		f.refusal = "-ERR STLS must come first\r\n"
	}
	f.client, f.backend, f.clientTail = f.fromClient, f.fromBackend, f.tooLong
	f.expect("greeting")
	return f
}

// Start implements Filter.
func (f *pop3Rejoin) Start(x *Exchange) { x.Hold() }

// BackendEnded reports a backend that ended before its greeting.
func (f *pop3Rejoin) BackendEnded(x *Exchange) {
	if f.next() == "greeting" {
		x.EndFor(ErrBackend)
	}
}

func (f *pop3Rejoin) fromBackend(x *Exchange, line []byte) {
	status, _, _ := strings.Cut(trimLine(line), " ")
	switch {
	case f.next() == "greeting":
		f.greeting(x, status, line)
	case f.list:
		f.capability(x, line)
	case status == "+OK" && f.next() == "CAPA":
		x.ToClient(line)
		f.list, f.login = true, false
	case status == "+OK" || status == "-ERR":
		x.ToClient(line)
		f.answered(x, status)
	default:
		x.ToClient(line)
		if status == "+" && f.next() == "AUTH" {
			f.dialogue = true
			x.Release()
		}
	}
}

func (f *pop3Rejoin) greeting(x *Exchange, status string, line []byte) {
	switch status {
	case "+OK":
		if f.direct {
			x.ToClient(line)
		}
		f.replied(x)
		x.Release()
	case "-ERR":
		x.End(line) // a client past the greeting takes it for its first command's answer
	default:
		x.EndFor(ErrBackend)
	}
}

// capability passes on a line of the answer to CAPA, but not STLS, nor XCLIENT.
func (f *pop3Rejoin) capability(x *Exchange, line []byte) {
	words := bytes.Fields(bytes.ToUpper(line))
	switch {
	case len(words) == 1 && string(words[0]) == "STLS", len(words) > 0 && string(words[0]) == "XCLIENT":
		f.stripped = true // Dovecot offers XCLIENT to addresses that it trusts, such as ours
		return
	case isPOP3Login(line):
		f.login = true
	}
	x.ToClient(line)
	if trimLine(line) != "." {
		return
	}
	f.list = false
	f.replied(x)
	if !f.login && !f.warned {
		f.warned = true
		x.Warn(pop3NoLogin)
	}
	if !f.stripped && !f.owing() {
		x.Done()
	}
}

// answered follows the end of a reply. Behind a command that logs in nothing is
// pending, since the client was held.
func (f *pop3Rejoin) answered(x *Exchange, status string) {
	switch f.replied(x) {
	case "PASS", "APOP", "AUTH":
		f.dialogue = false
		x.Release()
		if status == "+OK" {
			x.Done()
		}
	}
}

func (f *pop3Rejoin) fromClient(x *Exchange, line []byte) {
	if f.dialogue {
		f.dialogue = false
		x.ToBackend(line)
		x.Hold()
		return
	}
	words := strings.Fields(strings.ToUpper(trimLine(line)))
	verb := ""
	if len(words) > 0 {
		verb = words[0]
	}
	if verb == "STLS" {
		// A backend that has TLS of its own would accept it.
		f.reply(x, f.refusal)
		return
	}
	if verb == "XCLIENT" {
		f.reply(x, "-ERR Unknown command\r\n")
		return
	}
	if verb == "AUTH" && len(words) == 1 {
		verb = "" // asks for the mechanisms, as some servers let it
	}
	x.ToBackend(line)
	f.expect(verb)
	switch verb {
	case "PASS", "APOP", "AUTH":
		x.Hold() // the reply says what follows: a command, an answer, or nothing of ours
	}
}

// tooLong follows the end of a line that was not looked at.
func (f *pop3Rejoin) tooLong(x *Exchange, _ []byte) {
	if !f.dialogue {
		f.expect("")
		return
	}
	f.dialogue = false
	x.Hold()
}
