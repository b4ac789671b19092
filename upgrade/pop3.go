package upgrade

import (
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
	keyword, n := firstWord(line), len(words(line))
	return n == 1 && keyword == "USER" || n > 1 && keyword == "SASL"
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
