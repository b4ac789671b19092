// Package sieve is ManageSieve for the package upgrade: STARTTLS of RFC 5804 section 2.2.
//
//	S: "SASL" ""
//	S: "STARTTLS"
//	S: OK "mail.example.com ManageSieve server ready"
//	C: STARTTLS
//	S: OK "Begin TLS negotiation now."
//	   TLS; the backend greets with its capabilities, which the client waits for
//	C: AUTHENTICATE ...
//	S: OK ...                                from here on everything passes as it is
package sieve

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is ManageSieve, which upgrades with STARTTLS, RFC 5804 section 2.2. It is
// the one protocol here in which the server speaks first again after TLS: with
// its capabilities, which are just what a backend greets with.
var Protocol = &dialogue.Protocol{
	Name:        "sieve",
	Aliases:     []string{"managesieve", "sieves"},
	Port:        4190,
	Facts:       dialogue.Facts{Ports: "4190", Upgrade: "`STARTTLS`", Document: "RFC 5804 section 2.2"},
	ServerFirst: true,
	ALPN:        []string{"managesieve"},
	MaxLine:     8192,
	Accept:      accept,
	Request:     request,
	Resume:      dialogue.ResumesAtOnce, // nothing was asked: the greeting has all capabilities
	ErrorReply:  errorReply,
	Join:        newFilter,

	CheckCapability: checkCapability,

	Inquire: inquire,
	Quit:    "LOGOUT\r\n",
}

func accept(s *dialogue.Session) error {
	err := s.Reply(ownList(s, `OK "`+escape.Replace(s.Hostname()+" "+s.Greeting("ManageSieve server ready"))+`"`)...)
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := dialogue.SplitVerb(line)
		if verb == "STARTTLS" && arg == "" && s.TLSAvailable() {
			return s.GoAhead(`OK "Begin TLS negotiation now."`)
		}
		if err = answer(s, verb, arg); err != nil {
			return err
		}
		waits := false
		if waits, err = dialogue.SkipLiterals(s, line, false); waits {
			return dialogue.ErrMalformed // a client's literals are all {n+} (RFC 5804 section 4)
		}
	}
	return err
}

// escape makes the inside of a quoted string.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// ownList has the four capabilities that RFC 5804 section 1.7 requires, none
// of which tells anything of the backend, and no mechanism to log in with.
func ownList(s *dialogue.Session, ok string) []string {
	sasl := `"SASL" ""`
	if s.PlaintextAuth() {
		sasl = `"SASL" "PLAIN"`
	}
	list := []string{`"IMPLEMENTATION" "ManageSieve"`, `"SIEVE" ""`, sasl, `"STARTTLS"`}
	for _, name := range s.Capabilities() {
		list = append(list, `"`+escape.Replace(name)+`"`)
	}
	return append(list, `"VERSION" "1.0"`, ok)
}

// answer answers everything but STARTTLS. There is text behind every OK,
// since gnutls-cli waits for "OK " with the blank.
func answer(s *dialogue.Session, verb, arg string) error {
	switch verb {
	case "CAPABILITY":
		return s.Reply(ownList(s, `OK "Capability completed."`)...)
	case "NOOP":
		return noop(s, arg)
	case "LOGOUT":
		return errors.Join(s.Reply(`OK "Bye"`), dialogue.ErrQuit)
	case "STARTTLS":
		if arg == "" {
			return s.Refuse(`NO (TRYLATER) "TLS is not available for now"`)
		}
		return s.Refuse(`NO "Syntax error (no parameters allowed)"`)
	case "AUTHENTICATE":
		return s.NeedsBackend(true, needsTLS)
	case "UNAUTHENTICATE", "HAVESPACE", "PUTSCRIPT", "LISTSCRIPTS", "SETACTIVE",
		"GETSCRIPT", "DELETESCRIPT", "RENAMESCRIPT", "CHECKSCRIPT":
		return s.Refuse(needsTLS)
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return dialogue.ErrMalformed // a browser sent here by an attacker
	}
	return s.Refuse(`NO "Command not recognized"`)
}

const needsTLS = `NO (ENCRYPT-NEEDED) "STARTTLS required"`

// noop gives the client's string back (RFC 5804 section 2.13).
func noop(s *dialogue.Session, arg string) error {
	switch {
	case arg == "":
		return s.Reply(`OK "Done"`)
	case isQuoted(arg):
		return s.Reply(`OK (TAG ` + arg + `) "Done"`)
	}
	return s.Refuse(`NO "Syntax error"`)
}

// isQuoted reports whether arg is one quoted string.
func isQuoted(arg string) bool {
	return len(arg) > 1 && arg[0] == '"' && quotedEnd([]byte(arg)) == len(arg)
}

func errorReply(_ *dialogue.Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		text = `"Nothing may follow STARTTLS"`
	case errors.Is(why, dialogue.ErrLineTooLong):
		text = `"Line too long"`
	case errors.Is(why, dialogue.ErrMalformed):
		text = `"Invalid command"`
	case errors.Is(why, dialogue.ErrPlaintext):
		text = `(ENCRYPT-NEEDED) "STARTTLS required"`
	case errors.Is(why, dialogue.ErrTooMany):
		text = `"Too many invalid commands"`
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = `(TRYLATER) "Too many connections from your address"`
	case errors.Is(why, dialogue.ErrTimeout):
		text = `"Timeout"`
	case errors.Is(why, dialogue.ErrShutdown):
		text = `(TRYLATER) "Server is shutting down"`
	case errors.Is(why, dialogue.ErrBackend):
		text = `(TRYLATER) "` + dialogue.UnavailableText(why, "Backend not available") + `"`
	default:
		return nil
	}
	return dialogue.CRLF([]string{"BYE " + text})
}

// request leaves the connection where the server is to list its capabilities
// once more, inside TLS: whoever reads next finds them in place of a greeting.
func request(s *dialogue.Session) error {
	lines, err := expect(s)
	if err != nil {
		return err
	}
	offered := false
	for _, line := range lines {
		offered = offered || isSTARTTLS(line)
		if capability(line) == `"SASL"` {
			s.SetPlaintextLogin(!isNoLogin(line))
		}
	}
	if !offered {
		return dialogue.ErrNotOffered
	}
	if err := s.Reply("STARTTLS"); err != nil {
		return err
	}
	lines, err = expect(s)
	if err == nil && len(lines) > 0 {
		return dialogue.ErrMalformed
	}
	return err
}

// expect reads to the OK, and returns the lines before it.
func expect(s *dialogue.Session) (lines []string, err error) {
	for {
		line, err := s.ReadLine()
		if err != nil {
			return nil, err
		}
		if _, err := dialogue.SkipLiterals(s, line, true); err != nil {
			return nil, err
		}
		switch status(line) {
		case "OK":
			return lines, nil
		case "NO", "BYE":
			return nil, dialogue.Refusal(dialogue.ErrRefused, line)
		}
		if !isData(line) {
			return nil, dialogue.ErrMalformed
		}
		lines = append(lines, line)
	}
}

// status is the word that ends a response, in upper case, or empty in the
// lines before it.
func status(line string) string {
	switch word, _ := dialogue.SplitVerb(line); word {
	case "OK", "NO", "BYE":
		return word
	}
	return ""
}

// isData reports whether a line begins with a string, quoted or literal.
func isData(line string) bool { return strings.HasPrefix(line, `"`) || strings.HasPrefix(line, "{") }

// isSTARTTLS knows the capability that offers the upgrade, which has no value.
func isSTARTTLS(line string) bool {
	return dialogue.EqualASCII(strings.Trim(line, " \t"), `"STARTTLS"`)
}

// isNoLogin reports whether a line announces that there is no mechanism to log in
// with (RFC 5804 section 1.7).
func isNoLogin(line string) bool {
	return dialogue.EqualASCII(strings.Trim(line, " \t"), `"SASL" ""`)
}

// capability is the name that a line of the list begins with, quoted and in
// upper case.
func capability(line string) string {
	return dialogue.FirstWord([]byte(line))
}
