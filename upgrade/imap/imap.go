// Package imap is IMAP for the package upgrade: STARTTLS of RFC 9051 section 6.2.1.
//
//	S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] mail.example.com ready
//	C: a STARTTLS
//	S: a OK Begin TLS negotiation now
//	   TLS; the backend's greeting is swallowed, and STARTTLS is taken out of its capabilities
//	C: b LOGIN ...
//	S: b OK ...                              from here on everything passes as it is
package imap

import (
	"errors"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is IMAP, which upgrades with STARTTLS, RFC 9051 section 6.2.1.
var Protocol = &dialogue.Protocol{
	Name:        "imap",
	Aliases:     []string{"imaps", "imap4", "imap4rev1"},
	Port:        143,
	Facts:       dialogue.Facts{Ports: "143", Upgrade: "`STARTTLS`", Document: "RFC 9051 section 6.2.1"},
	ServerFirst: true,
	ALPN:        []string{"imap"},
	MaxLine:     8192,
	Accept:      accept,
	Request:     request,
	Resume:      dialogue.ResumesAtOnce, // CAPABILITY changes nothing, and has its tagged answer
	ErrorReply:  errorReply,
	Join:        newFilter,
	Greeting:    "* OK %s IMAP4rev1 server ready\r\n",

	CheckCapability: checkCapability,

	ImplicitPort: 993,
	Inquire:      inquire,
	Quit:         "a009 LOGOUT\r\n",
}

func accept(s *dialogue.Session) error {
	err := s.Reply("* OK [CAPABILITY " + imapOwnList(s) + "] " + s.Hostname() + " " + s.Greeting("IMAP server ready"))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		tag, verb, arg := imapCommandLine(line)
		if verb == "STARTTLS" && arg == "" && s.TLSAvailable() {
			return s.GoAhead(tag + " OK Begin TLS negotiation now")
		}
		if imapAmbiguous(line) {
			return dialogue.ErrMalformed
		}
		if err = imapCommand(s, line, tag, verb); err == nil {
			err = imapSkipLiterals(s, line, false)
		}
	}
	return err
}

// imapAmbiguous reports whether a line ends like one with a literal that does not
// wait, and is none: then what follows is a literal to some, and commands to others.
func imapAmbiguous(line string) bool {
	_, waits, looksLike := dialogue.AnnouncedLiteral(line)
	scan := dialogue.ScanArguments([]byte(line), false)
	return looksLike && !waits && (!scan.Literal || !scan.Sound())
}

// imapSkipLiterals discards what belongs to the command or response that line begins:
// taken for others, a literal could hold any. It stops at a literal that a client
// waits with; a server never waits.
func imapSkipLiterals(s *dialogue.Session, line string, server bool) error {
	for {
		scan := dialogue.ScanArguments([]byte(line), false)
		if !scan.Literal || scan.Waits && !server {
			return nil
		}
		if err := s.Discard(scan.Octets); err != nil {
			return err
		}
		var err error
		if line, err = s.ReadLine(); err != nil {
			return err
		}
		if !server && imapAmbiguous(line) {
			return dialogue.ErrMalformed
		}
	}
}

// imapOwnList is what we are capable of: no way to log in, unless clients may do so in
// plaintext. LOGINDISABLED (RFC 9051 section 6.2.3) keeps them from sending a password.
func imapOwnList(s *dialogue.Session) string {
	list, others := []string{"IMAP4rev1", "STARTTLS"}, s.Capabilities("ID")
	switch {
	case !s.PlaintextAuth():
		list = append(list, "LOGINDISABLED")
	case !slices.ContainsFunc(others, isMechanism):
		list = append(list, "AUTH=PLAIN")
	}
	return strings.Join(append(list, others...), " ")
}

// isMechanism knows a capability that is a SASL mechanism (RFC 9051 section 7.2.2).
func isMechanism(word string) bool { return strings.HasPrefix(imapUpper(word), "AUTH=") }

// imapCommand answers everything but STARTTLS. A literal that a refused command
// announces with {n} is never sent, since the client waits for a "+" first.
func imapCommand(s *dialogue.Session, line, tag, verb string) error {
	switch {
	case strings.Contains(line, " HTTP/1."):
		return dialogue.ErrMalformed // a browser sent here by an attacker
	case tag == "":
		return s.Refuse("* BAD Invalid command")
	}
	switch verb {
	case "CAPABILITY":
		return s.Reply("* CAPABILITY "+imapOwnList(s), tag+" OK CAPABILITY completed")
	case "NOOP":
		return s.Reply(tag + " OK NOOP completed")
	case "ID":
		return s.Reply("* ID NIL", tag+" OK ID completed")
	case "LOGOUT":
		return errors.Join(s.Reply("* BYE Logging out", tag+" OK LOGOUT completed"), dialogue.ErrQuit)
	case "STARTTLS":
		if !s.TLSAvailable() {
			return s.Refuse(tag + " NO [UNAVAILABLE] TLS is not available for now")
		}
		return s.Refuse(tag + " BAD Syntax error (no parameters allowed)")
	case "LOGIN", "AUTHENTICATE":
		return s.NeedsBackend(true, tag+" NO [PRIVACYREQUIRED] STARTTLS required")
	}
	return s.Refuse(tag + " BAD STARTTLS required")
}

// imapCommandLine splits a command. The tag is empty if it is none: it is given
// back to the client, and "* OK" or "+ OK" would be read as something else.
func imapCommandLine(line string) (tag, verb, arg string) {
	tag, rest, _ := strings.Cut(line, " ")
	if !imapTag(tag) {
		return "", "", ""
	}
	if !dialogue.Printable(rest) {
		return tag, "", "" // a command that nobody knows
	}
	verb, arg, _ = strings.Cut(rest, " ")
	return tag, imapUpper(verb), strings.TrimSpace(arg)
}

// imapTag reports whether tag is one: ASTRING-CHARs but "+" (RFC 9051 section 9).
func imapTag(tag string) bool {
	return tag != "" && !strings.ContainsFunc(tag, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\+`, r)
	})
}

// errorReply blames a command that cannot be named with an untagged BAD (RFC 9051
// section 7.1.3), and then takes its leave.
func errorReply(_ *dialogue.Session, why error) []byte {
	bad, bye := "", "Closing connection"
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		bad = "Nothing may follow STARTTLS"
	case errors.Is(why, dialogue.ErrLineTooLong):
		bad = "Line too long"
	case errors.Is(why, dialogue.ErrMalformed):
		bad = "Invalid command"
	case errors.Is(why, dialogue.ErrPlaintext):
		bye = "[PRIVACYREQUIRED] STARTTLS required"
	case errors.Is(why, dialogue.ErrTooMany):
		bye = "Too many invalid commands"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		bye = "[UNAVAILABLE] Too many connections from your address"
	case errors.Is(why, dialogue.ErrTimeout):
		bye = "Timeout"
	case errors.Is(why, dialogue.ErrShutdown):
		bye = "Server is shutting down"
	case errors.Is(why, dialogue.ErrBackend):
		bye = "[UNAVAILABLE] " + dialogue.UnavailableText(why, "Backend not available")
	default:
		return nil
	}
	if bad != "" {
		return dialogue.CRLF([]string{"* BAD " + bad, "* BYE " + bye})
	}
	return dialogue.CRLF([]string{"* BYE " + bye})
}

// request needs no secret tags. A reply that was there before its command is
// ErrPipelined, and one that overtook it on the wire leaves the server's own reply
// in front of the handshake, which ends it.
func request(s *dialogue.Session) error {
	line, err := s.ReadLine()
	if err != nil {
		return err
	}
	switch tag, word := imapResponse(line); {
	case tag != "*":
		return dialogue.ErrMalformed
	case word == "PREAUTH" || word == "BYE":
		// STARTTLS is not valid once logged in: PREAUTH is how an attacker keeps
		// a client from TLS (RFC 9051 section 7.1.4, CVE-2020-12398).
		return dialogue.Refusal(dialogue.ErrRefused, line)
	case word != "OK":
		return dialogue.ErrMalformed
	}
	offered := imapOffers(s, line)
	if !offered {
		if offered, err = imapAsk(s, "a001", "CAPABILITY"); err != nil {
			return err
		}
	}
	if !offered {
		return dialogue.ErrNotOffered
	}
	_, err = imapAsk(s, "a002", "STARTTLS")
	return err
}

// imapAsk sends a command and reads to its tagged answer. Of what comes untagged
// before TLS nothing counts but capabilities (RFC 9051 section 11.3).
func imapAsk(s *dialogue.Session, tag, command string) (offered bool, err error) {
	if err := s.Reply(tag + " " + command); err != nil {
		return false, err
	}
	for {
		line, err := s.ReadLine()
		if err != nil {
			return false, err
		}
		offered = imapOffers(s, line) || offered
		switch first, word := imapResponse(line); {
		case first == tag && word == "OK":
			return offered, nil
		case first == tag && (word == "NO" || word == "BAD"), first == "*" && word == "BYE":
			return false, dialogue.Refusal(dialogue.ErrRefused, line)
		case first != "*":
			return false, dialogue.ErrMalformed
		case !imapStatus(word):
			if err := imapSkipLiterals(s, line, true); err != nil {
				return false, err
			}
		}
	}
}

// imapResponse splits a response into its tag, "*" or "+", the word behind that,
// in upper case.
func imapResponse(line string) (tag, word string) {
	tag, rest, _ := strings.Cut(line, " ")
	word, _, _ = strings.Cut(rest, " ")
	return tag, imapUpper(word)
}

// imapStatus reports whether a response is one of those that end in text for people,
// in which a brace means nothing.
func imapStatus(word string) bool {
	return word == "OK" || word == "NO" || word == "BAD" || word == "BYE" || word == "PREAUTH"
}

// imapOffers looks for STARTTLS, and on the way for ways to log in: the LOGIN command
// unless it is disabled (RFC 9051 section 6.2.3), and mechanisms.
func imapOffers(s *dialogue.Session, line string) bool {
	start, code, ok := imapListStart(line)
	if !ok {
		return false
	}
	list := line[start:]
	if code {
		list, _, _ = strings.Cut(list, "]")
	}
	offered, disabled, mechanism := false, false, false
	for word := range strings.FieldsSeq(imapUpper(list)) {
		offered = offered || word == "STARTTLS"
		disabled = disabled || word == "LOGINDISABLED"
		mechanism = mechanism || isMechanism(word)
	}
	s.SetPlaintextLogin(!disabled || mechanism)
	return offered
}
