// Package irc is the upgrade of IRC, and what stands between its clients and servers then.
package irc

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is IRC, which upgrades with STARTTLS, the deprecated extension "tls" of IRCv3
// (https://ircv3.net/specs/deprecated/tls):
//
//	C: CAP LS 302
//	S: :irc.example.com CAP * LS :tls
//	C: STARTTLS
//	S: :irc.example.com 670 * :STARTTLS successful, proceed with TLS handshake
//
// A client must not have said who it is by then. openssl s_client gives up on a server that
// says anything else in front of the 670, so nothing is said unasked.
var Protocol = &dialogue.Protocol{
	Name:    "irc",
	Aliases: []string{"ircs", "ircd", "ircs-u", "chat"},
	Port:    6667,
	Facts: dialogue.Facts{
		Ports: "6667", Upgrade: "`STARTTLS`", Document: "IRCv3 [tls](https://ircv3.net/specs/deprecated/tls)",
	},
	ALPN:            []string{"irc"},
	CheckCapability: checkCapability,
	Match:           match,
	Accept:          accept,
	Request:         request,
	Resume:          dialogue.ResumesAtOnce,
	ErrorReply:      errorReply,
	Join:            newFilter,

	ImplicitPort: 6697,
	Quit:         "QUIT\r\n",
}

// maxLine bounds a line without tags, in octets with its terminator (RFC 2812 section 2.3).
const maxLine = 512

// needsTLS are the answers to what has a password in it. 904 is the end of a login with SASL,
// so that the client goes on without.
var needsTLS = map[string]string{
	"PASS":         "464 * :Passwords need TLS, use STARTTLS",
	"OPER":         "491 * :Passwords need TLS, use STARTTLS",
	"AUTHENTICATE": "904 * :Passwords need TLS, use STARTTLS",
}

func accept(s *dialogue.Session) error {
	for {
		line, err := s.ReadLine()
		switch {
		case err != nil:
			return err
		case len(line) > maxLine-len("\r\n"):
			return dialogue.ErrLineTooLong // where it ends, servers do not agree
		}
		verb, args := dialogue.SplitVerb(line)
		if verb == "STARTTLS" && args == "" && s.TLSAvailable() {
			return s.GoAhead(numeric(s.Hostname(), "670 * :STARTTLS successful, proceed with TLS handshake"))
		}
		if err := answer(s, verb, args); err != nil {
			return err
		}
	}
}

// answer answers everything but STARTTLS.
func answer(s *dialogue.Session, verb, args string) error {
	switch verb {
	case "CAP":
		return capability(s, args)
	case "PING":
		return s.Reply(numeric(s.Hostname(), "PONG "+s.Hostname()+" :"+strings.TrimPrefix(args, ":")))
	case "PONG":
		return nil
	case "QUIT":
		return errors.Join(s.Reply("ERROR :Closing Link: bye"), dialogue.ErrQuit)
	case "STARTTLS":
		if args == "" {
			return s.Refuse(numeric(s.Hostname(), "691 * :STARTTLS failed (TLS is not available for now)"))
		}
		return s.Refuse(numeric(s.Hostname(), "691 * :STARTTLS failed (no parameters allowed)"))
	case "NICK", "USER", "PASS", "AUTHENTICATE":
		return register(s, verb)
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return dialogue.ErrMalformed // a browser sent here by an attacker
	}
	return s.Refuse(numeric(s.Hostname(), notRegistered))
}

const notRegistered = "451 * :You have not registered"

// register is for a client that goes on in plaintext. If it must not, that is its end: a
// person who reads it learns more than a program that goes on to try.
func register(s *dialogue.Session, verb string) error {
	words, login := needsTLS[verb]
	if !login {
		words = notRegistered
	}
	err := s.NeedsBackend(login, numeric(s.Hostname(), words))
	if err == nil && !s.Optional() {
		return dialogue.ErrPlaintext
	}
	return err
}

// capability answers CAP. What a client wants of the backend is the backend's to grant.
func capability(s *dialogue.Session, args string) error {
	command, list, _ := strings.Cut(args, " ")
	list = strings.TrimPrefix(strings.Trim(list, " "), ":")
	reply := func(verb, list string) string { return numeric(s.Hostname(), "CAP * "+verb+" :"+list) }
	switch dialogue.UpperASCII([]byte(command)) {
	case "LS":
		return s.Reply(reply("LS", strings.Join(append([]string{"tls"}, s.Capabilities()...), " ")))
	case "LIST":
		return s.Reply(reply("LIST", ""))
	case "REQ":
		if strings.Trim(list, " ") == "tls" {
			return s.Reply(reply("ACK", list))
		}
		return s.NeedsBackend(false, reply("NAK", list))
	case "END":
		return nil
	}
	return s.Refuse(numeric(s.Hostname(), "410 * * :Invalid CAP command"))
}

// numeric is a line of a server's, without its end.
func numeric(hostname, text string) string { return ":" + hostname + " " + text }

// checkCapability finds what is no capability (IRCv3, capability negotiation), or has no
// place before TLS.
func checkCapability(capability string) error {
	if err := dialogue.CheckCapability(capability, []string{"tls"}, []string{"sasl"}); err != nil {
		return err
	}
	name, value, _ := strings.Cut(capability, "=")
	if !dialogue.IsKeyword(name, "-./_") || strings.ContainsAny(value, " \t") {
		return errors.New("must be the name of a capability, and may have a value, as in \"draft/languages=2,en,fr\"")
	}
	return nil
}

func errorReply(s *dialogue.Session, why error) []byte {
	text := ""
	var first []string
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		first, text = []string{numeric(s.Hostname(), "691 * :STARTTLS failed (nothing may follow it)")}, "nothing may follow STARTTLS"
	case errors.Is(why, dialogue.ErrLineTooLong):
		first, text = []string{numeric(s.Hostname(), lineTooLong)}, "line too long"
	case errors.Is(why, dialogue.ErrMalformed):
		text = "not understood"
	case errors.Is(why, dialogue.ErrPlaintext):
		text = "TLS required, use STARTTLS"
	case errors.Is(why, dialogue.ErrTooMany):
		text = "too many errors"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = "too many connections from your address"
	case errors.Is(why, dialogue.ErrTimeout):
		text = "timeout"
	case errors.Is(why, dialogue.ErrShutdown):
		text = "server is shutting down"
	case errors.Is(why, dialogue.ErrBackend):
		text = dialogue.UnavailableText(why, "Backend not available")
	default:
		return nil
	}
	return dialogue.CRLF(append(first, "ERROR :Closing Link: "+text))
}

const lineTooLong = "417 * :Input line was too long"
