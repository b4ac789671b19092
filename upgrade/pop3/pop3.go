// Package pop3 is POP3 for the package upgrade: STLS of RFC 2595 section 4.
//
//	S: +OK mail.example.com POP3 server ready
//	C: STLS
//	S: +OK Begin TLS negotiation
//	   TLS; the backend's greeting is swallowed, and STLS is taken out of its CAPA
//	C: PASS ...
//	S: +OK ...                               from here on everything passes as it is
package pop3

import (
	"errors"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is POP3, which upgrades with STLS, RFC 2595 section 4.
var Protocol = &dialogue.Protocol{
	Name:          "pop3",
	Aliases:       []string{"pop", "pop3s", "pops"},
	Port:          110,
	Facts:         dialogue.Facts{Ports: "110", Upgrade: "`STLS`", Document: "RFC 2595 section 4"},
	ServerFirst:   true,
	ALPN:          []string{"pop3"},
	CheckGreeting: checkGreeting,
	Accept:        accept,
	Request:       request,
	Resume:        dialogue.ResumesAtOnce, // CAPA and STLS leave the AUTHORIZATION state as it was
	ErrorReply:    errorReply,
	Join:          newFilter,
	Greeting:      "+OK %s POP3 server ready\r\n",

	CheckCapability: checkCapability,

	ImplicitPort: 995,
	Inquire:      inquire,
	Quit:         "QUIT\r\n",
}

func checkGreeting(text string) error {
	if strings.ContainsAny(text, "<>") {
		return errors.New("must not contain angle brackets, which make it an APOP challenge")
	}
	return nil
}

// accept greets without a timestamp: it would be the challenge for APOP
// (RFC 1939 section 7), and not the backend's.
func accept(s *dialogue.Session) error {
	err := s.Reply("+OK " + s.Hostname() + " " + s.Greeting("POP3 server ready"))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := dialogue.SplitVerb(line)
		if verb == "STLS" && arg == "" && s.TLSAvailable() {
			return s.GoAhead("+OK Begin TLS negotiation")
		}
		err = pop3Command(s, verb)
	}
	return err
}

// pop3Command answers everything but STLS. The response code AUTH of RFC 3206
// would fit a refused login, but makes clients ask for another password.
func pop3Command(s *dialogue.Session, verb string) error {
	switch verb {
	case "CAPA":
		return s.Reply(pop3OwnList(s)...)
	case "QUIT":
		return errors.Join(s.Reply("+OK Bye"), dialogue.ErrQuit)
	case "STLS":
		if !s.TLSAvailable() {
			return s.Refuse("-ERR [SYS/TEMP] TLS is not available for now")
		}
		return s.Refuse("-ERR Syntax error (no parameters allowed)")
	case "USER", "PASS", "APOP", "AUTH":
		return s.NeedsBackend(true, "-ERR Must issue a STLS command first")
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return dialogue.ErrMalformed // a browser sent here by an attacker
	}
	return s.Refuse("-ERR Command not recognized before STLS")
}

// pop3OwnList has neither USER nor SASL, which would invite clients to send a password,
// unless they may do so in plaintext.
func pop3OwnList(s *dialogue.Session) []string {
	list := append([]string{"+OK Capability list follows"}, s.Capabilities()...)
	login := slices.ContainsFunc(list, func(line string) bool { return isPOP3Login([]byte(line)) })
	if s.PlaintextAuth() && !login {
		list = append(list, "USER", "SASL PLAIN")
	}
	return append(list, "STLS", ".")
}

// errorReply says nothing to a client that took too long, as RFC 1939 section 3
// demands.
func errorReply(_ *dialogue.Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		text = "Nothing may follow STLS"
	case errors.Is(why, dialogue.ErrLineTooLong):
		text = "Line too long"
	case errors.Is(why, dialogue.ErrMalformed):
		text = "Command not recognized"
	case errors.Is(why, dialogue.ErrPlaintext):
		text = "Must issue a STLS command first"
	case errors.Is(why, dialogue.ErrTooMany):
		text = "Too many errors"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = "[SYS/TEMP] Too many connections from your address"
	case errors.Is(why, dialogue.ErrShutdown):
		text = "[SYS/TEMP] Server is shutting down"
	case errors.Is(why, dialogue.ErrBackend):
		text = "[SYS/TEMP] " + dialogue.UnavailableText(why, "Backend not available")
	default:
		return nil
	}
	return dialogue.CRLF([]string{"-ERR " + text})
}

func request(s *dialogue.Session) error {
	if err := pop3Expect(s, dialogue.ErrRefused); err != nil {
		return err
	}
	if err := s.Reply("CAPA"); err != nil {
		return err
	}
	unknown := dialogue.ErrRefused
	switch err := pop3Expect(s, dialogue.ErrNotOffered); {
	case errors.Is(err, dialogue.ErrNotOffered):
		unknown = dialogue.ErrNotOffered // some have STLS and not CAPA: STLS itself tells
	case err != nil:
		return err
	default:
		if err := readCapabilities(s); err != nil {
			return err
		}
	}
	if err := s.Reply("STLS"); err != nil {
		return err
	}
	return pop3Expect(s, unknown)
}

// readCapabilities reads the answer to CAPA, in which STLS must be.
func readCapabilities(s *dialogue.Session) error {
	lines, err := s.ReadBlock()
	if err != nil {
		return err
	}
	offered, login := false, false
	for _, line := range lines {
		offered = offered || dialogue.EqualASCII(strings.Trim(line, " \t"), "STLS")
		login = login || isPOP3Login([]byte(line))
	}
	s.SetPlaintextLogin(login)
	if !offered {
		return dialogue.ErrNotOffered
	}
	return nil
}

// isPOP3Login knows the capabilities that are ways to log in (RFC 2449 section 6.3,
// RFC 5034 section 3).
func isPOP3Login(line []byte) bool {
	keyword, n := dialogue.FirstWord(line), len(dialogue.Words(line))
	return n == 1 && keyword == "USER" || n > 1 && keyword == "SASL"
}

// pop3Expect reads a line that says yes.
func pop3Expect(s *dialogue.Session, otherwise error) error {
	line, err := s.ReadLine()
	if err != nil {
		return err
	}
	switch status, _, _ := strings.Cut(line, " "); status {
	case "+OK":
		return nil
	case "-ERR":
		return dialogue.Refusal(otherwise, line)
	}
	return dialogue.ErrMalformed
}
