package upgrade

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// IMAP upgrades with STARTTLS, RFC 9051 section 6.2.1.
var IMAP = &Protocol{
	Name:        "imap",
	ServerFirst: true,
	ALPN:        []string{"imap"},
	MaxLine:     8192,
	Accept:      imapAccept,
	Request:     imapRequest,
	Farewell:    imapFarewell,
	Rejoin:      newIMAPRejoin,
	Greeting:    "* OK %s IMAP4rev1 server ready",
}

func imapAccept(s *Session) error {
	err := s.Reply("* OK [CAPABILITY " + imapOwnList(s) + "] " + s.Hostname() + " " + s.Greeting("IMAP server ready"))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		tag, verb, arg := imapCommandLine(line)
		if verb == "STARTTLS" && arg == "" {
			return s.GoAhead(tag + " OK Begin TLS negotiation now")
		}
		if err = imapCommand(s, line, tag, verb); err == nil {
			_, err = skipLiterals(s, line, false)
		}
	}
	return err
}

// imapOwnList is what we are capable of: no way to log in. LOGINDISABLED
// (RFC 9051 section 6.2.3) keeps clients from sending a password in clear.
func imapOwnList(s *Session) string {
	list := []string{"IMAP4rev1", "STARTTLS"}
	if !s.PlaintextAuth() {
		list = append(list, "LOGINDISABLED")
	}
	return strings.Join(append(list, s.Capabilities("ID")...), " ")
}

// imapCommand answers everything but STARTTLS. A literal that a refused command
// announces with {n} is never sent, since the client waits for a "+" first.
func imapCommand(s *Session, line, tag, verb string) error {
	switch {
	case strings.Contains(line, " HTTP/1."):
		return ErrMalformed // a browser sent here by an attacker
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
		return errors.Join(s.Reply("* BYE Logging out", tag+" OK LOGOUT completed"), ErrQuit)
	case "STARTTLS":
		return s.Refuse(tag + " BAD Syntax error (no parameters allowed)")
	case "LOGIN", "AUTHENTICATE":
		return s.Insist(true, tag+" NO [PRIVACYREQUIRED] STARTTLS required")
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
	verb, arg = splitVerb(rest)
	return tag, verb, arg
}

// imapTag tells whether tag is one: ASTRING-CHARs but "+" (RFC 9051 section 9).
func imapTag(tag string) bool {
	return tag != "" && !strings.ContainsFunc(tag, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\+`, r)
	})
}

// announcedLiteral finds what a line may end with: {n} announces n octets and
// waits to be told to go on, {n+} is followed by them at once (RFC 7888). An n
// beyond all bounds is a literal, too.
func announcedLiteral(line string) (n int64, waits, ok bool) {
	start := strings.LastIndexByte(line, '{')
	if start < 0 || !strings.HasSuffix(line, "}") {
		return 0, false, false
	}
	digits, follows := strings.CutSuffix(line[start+1:len(line)-1], "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	n, _ = strconv.ParseInt(digits, 10, 64) // the only error left gives the greatest n
	return n, !follows, true
}

// skipLiterals discards what belongs to the command that line begins: taken for
// commands of its own, a literal could hold any. It stops at a literal that the
// client waits with; a server never waits.
func skipLiterals(s *Session, line string, server bool) (waits bool, err error) {
	for {
		n, waits, ok := announcedLiteral(line)
		if !ok || waits && !server {
			return waits, nil
		}
		if err := s.Discard(n); err != nil {
			return false, err
		}
		if line, err = s.ReadLine(); err != nil {
			return false, err
		}
	}
}

// imapFarewell blames a command that cannot be named with an untagged BAD (RFC 9051
// section 7.1.3), and then takes its leave.
func imapFarewell(_ *Session, why error) []byte {
	bad, bye := "", "Closing connection"
	switch {
	case errors.Is(why, ErrPipelined):
		bad = "Nothing may follow STARTTLS"
	case errors.Is(why, ErrLineTooLong):
		bad = "Line too long"
	case errors.Is(why, ErrMalformed):
		bad = "Invalid command"
	case errors.Is(why, ErrPlaintext):
		bye = "[PRIVACYREQUIRED] STARTTLS required"
	case errors.Is(why, ErrTooMany):
		bye = "Too many invalid commands"
	case errors.Is(why, ErrTimeout):
		bye = "Timeout"
	case errors.Is(why, ErrBackend):
		bye = "[UNAVAILABLE] " + unavailableText(why, "Backend not available")
	default:
		return nil
	}
	if bad != "" {
		return crlf([]string{"* BAD " + bad, "* BYE " + bye})
	}
	return crlf([]string{"* BYE " + bye})
}

// imapRequest needs no secret tags. A reply that was there before its command is
// ErrPipelined, and one that overtook it on the wire leaves the server's own reply
// in front of the handshake, which ends it.
func imapRequest(s *Session) error {
	line, err := s.ReadLine()
	if err != nil {
		return err
	}
	switch tag, word, _ := imapResponse(line); {
	case tag != "*":
		return ErrMalformed
	case word == "PREAUTH" || word == "BYE":
		// STARTTLS is not valid once logged in: PREAUTH is how an attacker keeps
		// a client from TLS (RFC 9051 section 7.1.4, CVE-2020-12398).
		return refusal(ErrRefused, line)
	case word != "OK":
		return ErrMalformed
	}
	offered := imapOffers(s, line)
	if !offered {
		if offered, err = imapAsk(s, "a001", "CAPABILITY"); err != nil {
			return err
		}
	}
	if !offered {
		return ErrNotOffered
	}
	_, err = imapAsk(s, "a002", "STARTTLS")
	return err
}

// imapAsk sends a command and reads to its tagged answer. Of what comes untagged
// before TLS nothing counts but capabilities (RFC 9051 section 11.3).
func imapAsk(s *Session, tag, command string) (offered bool, err error) {
	if err := s.Reply(tag + " " + command); err != nil {
		return false, err
	}
	for {
		line, err := s.ReadLine()
		if err != nil {
			return false, err
		}
		offered = imapOffers(s, line) || offered
		switch first, word, _ := imapResponse(line); {
		case first == tag && word == "OK":
			return offered, nil
		case first == tag && (word == "NO" || word == "BAD"), first == "*" && word == "BYE":
			return false, refusal(ErrRefused, line)
		case first != "*":
			return false, ErrMalformed
		case !imapStatus(word):
			if _, err := skipLiterals(s, line, true); err != nil {
				return false, err
			}
		}
	}
}

// imapResponse splits a response into its tag, "*" or "+", the word behind that,
// in upper case, and the rest.
func imapResponse(line string) (tag, word, text string) {
	tag, rest, _ := strings.Cut(line, " ")
	word, text, _ = strings.Cut(rest, " ")
	return tag, strings.ToUpper(word), text
}

// imapStatus tells whether a response is one of those that end in text for people,
// in which a brace means nothing.
func imapStatus(word string) bool {
	return word == "OK" || word == "NO" || word == "BAD" || word == "BYE" || word == "PREAUTH"
}

// imapList finds the capabilities in a response: all of "* CAPABILITY ...", or
// the code of a status response (RFC 9051 section 7.1).
func imapList(line string) (before, list, after string, ok bool) {
	tag, word, text := imapResponse(line)
	before = line[:len(line)-len(text)]
	if tag == "*" && word == "CAPABILITY" {
		return before, text, "", true
	}
	const code = "[CAPABILITY "
	if !imapStatus(word) || len(text) < len(code) || !strings.EqualFold(text[:len(code)], code) {
		return "", "", "", false
	}
	list, after, ok = strings.Cut(text[len(code):], "]")
	return before + text[:len(code)], list, "]" + after, ok
}

// imapOffers looks for STARTTLS, and on the way for ways to log in: the LOGIN command
// unless it is disabled (RFC 9051 section 6.2.3), and mechanisms.
func imapOffers(s *Session, line string) bool {
	_, list, _, ok := imapList(line)
	if !ok {
		return false
	}
	words := strings.Split(list, " ")
	s.SetPlaintextLogin(!slices.ContainsFunc(words, isLoginDisabled) || slices.ContainsFunc(words, isIMAPMechanism))
	return slices.ContainsFunc(words, isSTARTTLS)
}

func isLoginDisabled(word string) bool { return strings.EqualFold(word, "LOGINDISABLED") }

func isIMAPMechanism(word string) bool { return strings.HasPrefix(strings.ToUpper(word), "AUTH=") }

func isSTARTTLS(word string) bool { return strings.EqualFold(word, "STARTTLS") }
