// Package smtp is SMTP and LMTP for the package upgrade: STARTTLS of RFC 3207.
//
//	S: 220 mail.example.com ESMTP ready
//	C: EHLO client.example
//	S: 250-mail.example.com
//	S: 250-STARTTLS
//	S: 250 SMTPUTF8                          and others
//	C: STARTTLS
//	S: 220 2.0.0 Ready to start TLS
//	   TLS; the backend's greeting is swallowed, and what is not for clients is taken out
//	   of its answers to EHLO
package smtp

import (
	"errors"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is SMTP, which upgrades with STARTTLS, RFC 3207. No ALPN id is registered for it; these
// three are what nginx, Exim and Dovecot's submission service go by.
var Protocol = &dialogue.Protocol{
	Name:        "smtp",
	Aliases:     []string{"submission", "submissions", "smtps", "esmtp", "mail", "mx"},
	Port:        25,
	Facts:       dialogue.Facts{Ports: "25, 587", Upgrade: "`STARTTLS`", Document: "RFC 3207"},
	ServerFirst: true,
	ALPN:        []string{"smtp", "esmtp", "submission"},
	Accept:      func(s *dialogue.Session) error { return accept(s, "EHLO", "ESMTP ready") },
	Request:     func(s *dialogue.Session) error { return request(s, "EHLO") },
	Resume:      resume,
	ErrorReply:  errorReply,
	Join:        func(s dialogue.Situation) dialogue.Filter { return newFilter(s, false) },
	Greeting:    "220 %s ESMTP\r\n",

	CheckCapability: checkCapability,
	Introduces:      true,

	ImplicitPort: 465,
	Inquire:      func(s *dialogue.Session, greeted bool) ([]string, error) { return inquire(s, "EHLO", greeted) },
	Quit:         "QUIT\r\n",
}

// LMTP is SMTP with LHLO (RFC 2033 section 4.1) and a reply to each recipient.
var LMTP = &dialogue.Protocol{
	Name:        "lmtp",
	Aliases:     []string{"lmtps"},
	Port:        24,
	Facts:       dialogue.Facts{Ports: "24", Upgrade: "`STARTTLS`", Document: "RFC 2033, RFC 3207"},
	ServerFirst: true,
	ALPN:        []string{"lmtp", "smtp", "esmtp"},
	Accept:      func(s *dialogue.Session) error { return accept(s, "LHLO", "LMTP ready") },
	Request:     func(s *dialogue.Session) error { return request(s, "LHLO") },
	Resume:      resume,
	ErrorReply:  errorReply,
	Join:        func(s dialogue.Situation) dialogue.Filter { return newFilter(s, true) },
	Greeting:    "220 %s LMTP\r\n",

	CheckCapability: checkCapability,
	Introduces:      true,

	Inquire: func(s *dialogue.Session, greeted bool) ([]string, error) { return inquire(s, "LHLO", greeted) },
	Quit:    "QUIT\r\n",
}

// accept greets with a word behind the protocol's name, as servers do: monitors look for one.
func accept(s *dialogue.Session, hello, greeting string) error {
	err := s.Reply("220 " + s.Hostname() + " " + s.Greeting(greeting))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := dialogue.SplitVerb(line)
		if verb == "STARTTLS" && arg == "" && s.TLSAvailable() {
			return s.GoAhead("220 2.0.0 Ready to start TLS")
		}
		err = smtpCommand(s, hello, verb, arg)
	}
	return err
}

// smtpCommand answers everything but STARTTLS. RFC 3207 section 4 lets a server
// that insists on TLS refuse all but NOOP, EHLO, STARTTLS and QUIT with 530.
func smtpCommand(s *dialogue.Session, hello, verb, arg string) error {
	switch verb {
	case hello:
		return smtpHello(s, verb, arg)
	case "HELO":
		if hello == "LHLO" {
			return s.Refuse("500 5.5.1 Command not recognized, this is LMTP")
		}
		s.SetHello(arg)
		s.Introduce("HELO ", arg, "\r\n")
		return s.Reply("250 " + s.Hostname())
	case "NOOP":
		return s.Reply("250 2.0.0 Ok")
	case "QUIT":
		return errors.Join(s.Reply("221 2.0.0 Bye"), dialogue.ErrQuit)
	case "STARTTLS":
		if arg == "" {
			return s.Refuse("454 4.7.0 TLS not available due to temporary reason")
		}
		return s.Refuse("501 5.5.4 Syntax error (no parameters allowed)")
	case "RSET":
		return s.Reply("250 2.0.0 Ok") // there is nothing to reset
	case "MAIL", "RCPT", "DATA", "BDAT", "VRFY", "EXPN", "HELP", "ETRN", "BURL":
		return s.NeedsBackend(false, smtpNeedsTLS)
	case "AUTH":
		return s.NeedsBackend(true, smtpNeedsTLS)
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return dialogue.ErrMalformed // a browser sent here by an attacker
	}
	return s.Refuse("500 5.5.2 Command not recognized")
}

const smtpNeedsTLS = "530 5.7.0 Must issue a STARTTLS command first"

func smtpHello(s *dialogue.Session, verb, name string) error {
	if name == "" {
		return s.Refuse("501 5.5.4 Syntax error (name required)")
	}
	s.SetHello(name)
	s.Introduce(verb, " ", name, "\r\n")
	return s.Send(smtpReply("250", s.Hostname(), announcement(s)))
}

// smtpReply makes a reply of lines: a hyphen behind the code of all but the last (RFC 5321
// section 4.2.1).
func smtpReply(code, first string, others []string) []byte {
	const around = len("-\r\n")
	size := len(code) + len(first) + around
	for _, text := range others {
		size += len(code) + len(text) + around
	}
	p := make([]byte, 0, size)
	last := 0 // where the last line begins
	for i := range len(others) + 1 {
		text := first
		if i > 0 {
			text = others[i-1]
		}
		last = len(p)
		p = append(append(append(p, code...), '-'), text...)
		p = append(p, "\r\n"...)
	}
	p[last+len(code)] = ' '
	return p
}

func errorReply(s *dialogue.Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		text = "554 5.5.0 SMTP protocol synchronization"
	case errors.Is(why, dialogue.ErrLineTooLong):
		text = "500 5.5.2 Line too long"
	case errors.Is(why, dialogue.ErrAmbiguousEnd):
		text = "550 5.5.2 A lone dot must stand between two CRLF"
	case errors.Is(why, dialogue.ErrMalformed):
		text = "500 5.5.2 Command not recognized"
	case errors.Is(why, dialogue.ErrTooMany):
		text = "421 4.7.0 " + s.Hostname() + " Too many errors, closing transmission channel"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = "421 4.7.0 " + s.Hostname() + " Too many connections from your address, try again later"
	case errors.Is(why, dialogue.ErrTimeout):
		text = "421 4.4.2 " + s.Hostname() + " Timeout, closing transmission channel"
	case errors.Is(why, dialogue.ErrShutdown):
		text = "421 4.3.2 " + s.Hostname() + " Service is shutting down, closing transmission channel"
	case errors.Is(why, dialogue.ErrBackend):
		text = "421 " + smtpUnavailable(why) + " " + s.Hostname() + " " +
			dialogue.UnavailableText(why, "Service not available, closing transmission channel")
	default:
		return nil
	}
	return dialogue.CRLF([]string{text})
}

// smtpUnavailable is the status code of a backend's absence (RFC 3463 sections 3.4
// and 3.8).
func smtpUnavailable(why error) string {
	if dialogue.UnavailableForTLS(why) {
		return "4.7.5"
	}
	return "4.3.2"
}

func request(s *dialogue.Session, hello string) error {
	if _, err := smtpExpect(s, "220", dialogue.ErrRefused); err != nil {
		return err
	}
	if err := s.Reply(hello + " " + s.Hostname()); err != nil {
		return err
	}
	lines, err := smtpExpect(s, "250", dialogue.ErrNotOffered)
	if err != nil {
		return err
	}
	offered := slices.ContainsFunc(lines[1:], func(text string) bool {
		return dialogue.EqualASCII(strings.Trim(text, " \t"), "STARTTLS")
	})
	s.SetPlaintextLogin(slices.ContainsFunc(lines[1:], isSMTPAuth))
	if !offered {
		return dialogue.ErrNotOffered
	}
	if err := s.Reply("STARTTLS"); err != nil {
		return err
	}
	_, err = smtpExpect(s, "220", dialogue.ErrRefused)
	return err
}

// resume lets the server forget our EHLO as far as it can: RSET clears all but the name
// (RFC 5321 section 4.1.1.5), which the client's own EHLO replaces.
func resume(s *dialogue.Session) error {
	if err := s.Reply("RSET"); err != nil {
		return err
	}
	_, err := smtpExpect(s, "250", dialogue.ErrRefused)
	return err
}

// smtpExpect reads one reply, of any number of lines, and returns their texts. A command
// that the server does not know (500, 502) is an error of its own, for which the whole reply
// is read: such a server may be asked something else. Any other code refuses.
func smtpExpect(s *dialogue.Session, want string, unknown error) (texts []string, err error) {
	var refused error
	for {
		line, err := s.ReadLine()
		if err != nil {
			return nil, err
		}
		code, sep, text, ok := smtpReplyLine(line)
		switch {
		case !ok:
			return nil, dialogue.ErrMalformed
		case code != want && refused == nil:
			refused = smtpRefusal(code, line, unknown)
		}
		texts = append(texts, text)
		if sep == ' ' || errors.Is(refused, dialogue.ErrRefused) {
			return texts, refused
		}
	}
}

// smtpRefusal is what it means that a server answers a command with a line.
func smtpRefusal(code, line string, unknown error) error {
	if code == "500" || code == "502" {
		return dialogue.Refusal(unknown, line)
	}
	return dialogue.Refusal(dialogue.ErrRefused, line)
}

// smtpReplyLine splits "250-text" and "250 text"; the bare code is a last line.
func smtpReplyLine(line string) (code string, sep byte, text string, ok bool) {
	if len(line) < 3 || strings.Trim(line[:3], "0123456789") != "" {
		return "", 0, "", false
	}
	if len(line) == 3 {
		return line, ' ', "", true
	}
	return line[:3], line[3], line[4:], line[3] == ' ' || line[3] == '-'
}
