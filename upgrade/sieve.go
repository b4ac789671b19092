package upgrade

import (
	"errors"
	"strings"
)

// Sieve is ManageSieve, which upgrades with STARTTLS, RFC 5804 section 2.2. It is
// the one protocol here in which the server speaks first again after TLS: with
// its capabilities, which are just what a backend greets with.
var Sieve = &Protocol{
	Name:        "sieve",
	ServerFirst: true,
	ALPN:        []string{"managesieve"},
	MaxLine:     8192,
	Accept:      sieveAccept,
	Request:     sieveRequest,
	Farewell:    sieveFarewell,
	Rejoin:      newSieveRejoin,
}

func sieveAccept(s *Session) error {
	err := s.Reply(sieveOwnList(s, `OK "`+sieveEscape.Replace(s.Hostname()+" "+s.Greeting("ManageSieve server ready"))+`"`)...)
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := splitVerb(line)
		if verb == "STARTTLS" && arg == "" {
			return s.GoAhead(`OK "Begin TLS negotiation now."`)
		}
		if err = sieveCommand(s, verb, arg); err != nil {
			return err
		}
		waits := false
		if waits, err = skipLiterals(s, line, false); waits {
			return ErrMalformed // a client's literals are all {n+} (RFC 5804 section 4)
		}
	}
	return err
}

// sieveEscape makes the inside of a quoted string.
var sieveEscape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// sieveOwnList has the four capabilities that RFC 5804 section 1.7 requires, none
// of which tells anything of the backend, and no mechanism to log in with.
func sieveOwnList(s *Session, ok string) []string {
	sasl := `"SASL" ""`
	if s.PlaintextAuth() {
		sasl = `"SASL" "PLAIN"`
	}
	list := []string{`"IMPLEMENTATION" "ManageSieve"`, `"SIEVE" ""`, sasl, `"STARTTLS"`}
	for _, name := range s.Capabilities() {
		list = append(list, `"`+sieveEscape.Replace(name)+`"`)
	}
	return append(list, `"VERSION" "1.0"`, ok)
}

// sieveCommand answers everything but STARTTLS. There is text behind every OK,
// since gnutls-cli waits for "OK " with the blank.
func sieveCommand(s *Session, verb, arg string) error {
	switch verb {
	case "CAPABILITY":
		return s.Reply(sieveOwnList(s, `OK "Capability completed."`)...)
	case "NOOP":
		return sieveNoop(s, arg)
	case "LOGOUT":
		return errors.Join(s.Reply(`OK "Bye"`), ErrQuit)
	case "STARTTLS":
		return s.Refuse(`NO "Syntax error (no parameters allowed)"`)
	case "AUTHENTICATE":
		return s.Insist(true, sieveInsist)
	case "UNAUTHENTICATE", "HAVESPACE", "PUTSCRIPT", "LISTSCRIPTS", "SETACTIVE",
		"GETSCRIPT", "DELETESCRIPT", "RENAMESCRIPT", "CHECKSCRIPT":
		return s.Refuse(sieveInsist)
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return ErrMalformed // a browser sent here by an attacker
	}
	return s.Refuse(`NO "Command not recognized"`)
}

const sieveInsist = `NO (ENCRYPT-NEEDED) "STARTTLS required"`

// sieveNoop gives the client's string back (RFC 5804 section 2.13).
func sieveNoop(s *Session, arg string) error {
	switch {
	case arg == "":
		return s.Reply(`OK "Done"`)
	case sieveQuoted(arg):
		return s.Reply(`OK (TAG ` + arg + `) "Done"`)
	}
	return s.Refuse(`NO "Syntax error"`)
}

// sieveQuoted tells whether arg is one quoted string.
func sieveQuoted(arg string) bool {
	if len(arg) < 2 || arg[0] != '"' {
		return false
	}
	for i := 1; i < len(arg); i++ {
		switch arg[i] {
		case '\\':
			i++
		case '"':
			return i == len(arg)-1
		}
	}
	return false
}

func sieveFarewell(_ *Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, ErrPipelined):
		text = `"Nothing may follow STARTTLS"`
	case errors.Is(why, ErrLineTooLong):
		text = `"Line too long"`
	case errors.Is(why, ErrMalformed):
		text = `"Invalid command"`
	case errors.Is(why, ErrPlaintext):
		text = `(ENCRYPT-NEEDED) "STARTTLS required"`
	case errors.Is(why, ErrTooMany):
		text = `"Too many invalid commands"`
	case errors.Is(why, ErrTimeout):
		text = `"Timeout"`
	case errors.Is(why, ErrBackend):
		text = `(TRYLATER) "` + unavailableText(why, "Backend not available") + `"`
	default:
		return nil
	}
	return crlf([]string{"BYE " + text})
}

// sieveRequest leaves the connection where the server is to list its capabilities
// once more, inside TLS: whoever reads next finds them in place of a greeting.
func sieveRequest(s *Session) error {
	lines, err := sieveExpect(s)
	if err != nil {
		return err
	}
	offered := false
	for _, line := range lines {
		offered = offered || isSieveSTARTTLS(line)
		if sieveCapability(line) == `"SASL"` {
			s.SetPlaintextLogin(!isSieveNoLogin(line))
		}
	}
	if !offered {
		return ErrNotOffered
	}
	if err := s.Reply("STARTTLS"); err != nil {
		return err
	}
	lines, err = sieveExpect(s)
	if err == nil && len(lines) > 0 {
		return ErrMalformed
	}
	return err
}

// sieveExpect reads to the OK, and returns the lines before it.
func sieveExpect(s *Session) (lines []string, err error) {
	for {
		line, err := s.ReadLine()
		if err != nil {
			return nil, err
		}
		if _, err := skipLiterals(s, line, true); err != nil {
			return nil, err
		}
		switch sieveStatus(line) {
		case "OK":
			return lines, nil
		case "NO", "BYE":
			return nil, refusal(ErrRefused, line)
		}
		if !sieveData(line) {
			return nil, ErrMalformed
		}
		lines = append(lines, line)
	}
}

// sieveStatus is the word that ends a response, in upper case, or empty in the
// lines before it.
func sieveStatus(line string) string {
	switch word, _ := splitVerb(line); word {
	case "OK", "NO", "BYE":
		return word
	}
	return ""
}

// sieveData tells whether a line begins with a string, quoted or literal.
func sieveData(line string) bool { return strings.HasPrefix(line, `"`) || strings.HasPrefix(line, "{") }

func isSieveSTARTTLS(line string) bool {
	return strings.TrimSpace(strings.ToUpper(line)) == `"STARTTLS"`
}

// isSieveNoLogin tells whether a line announces that there is no mechanism to log in
// with (RFC 5804 section 1.7).
func isSieveNoLogin(line string) bool {
	return strings.EqualFold(strings.TrimSpace(line), `"SASL" ""`)
}

// sieveCapability is the name that a line of the list begins with, quoted and in
// upper case.
func sieveCapability(line string) string {
	name, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
	return name
}
