// Package nntp is the upgrade of NNTP, and what stands between its clients and servers then.
package nntp

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is NNTP, which upgrades with STARTTLS, RFC 4642:
//
//	S: 200 mail.example.com NNTP server ready
//	C: CAPABILITIES
//	S: 101 Capability list follows
//	S: VERSION 2
//	S: STARTTLS
//	S: .
//	C: STARTTLS
//	S: 382 Continue with TLS negotiation
var Protocol = &dialogue.Protocol{
	Name:        "nntp",
	Aliases:     []string{"nntps", "nnsp", "snews", "news", "usenet"},
	Port:        119,
	Facts:       dialogue.Facts{Ports: "119, 433", Upgrade: "`STARTTLS`", Document: "RFC 4642"},
	ServerFirst: true,
	ALPN:        []string{"nntp", "nnsp"},
	Accept:      accept,
	Request:     request,
	Resume:      dialogue.ResumesAtOnce, // CAPABILITIES changes nothing (RFC 3977 section 5.2)
	ErrorReply:  errorReply,
	Join:        newFilter,
	Greeting:    "200 %s NNTP server ready\r\n",

	ImplicitPort: 563,
	Inquire:      inquire,
	Quit:         "QUIT\r\n",
}

// accept greets with 200, for which gnutls-cli waits, whether or not the backend lets
// clients post: one that does not says 440 to POST.
func accept(s *dialogue.Session) error {
	err := s.Reply("200 " + s.Hostname() + " " + s.Greeting("NNTP server ready"))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := dialogue.SplitVerb(line)
		if verb == "STARTTLS" && arg == "" && s.TLSAvailable() {
			return s.GoAhead("382 Continue with TLS negotiation")
		}
		err = answer(s, verb, arg)
	}
	return err
}

const needsTLS = "483 Encryption required, use STARTTLS"

// answer answers everything but STARTTLS. MODE READER has no answer of ours: the backend
// would have to hear of it, too.
func answer(s *dialogue.Session, verb, arg string) error {
	switch verb {
	case "CAPABILITIES":
		return s.Reply(ownList(s)...)
	case "HELP":
		return s.Reply("100 Help text follows", "CAPABILITIES", "HELP", "QUIT", "STARTTLS", ".")
	case "QUIT":
		return errors.Join(s.Reply("205 Connection closing"), dialogue.ErrQuit)
	case "STARTTLS":
		if arg == "" {
			return s.Refuse("580 TLS is not available for now")
		}
		return s.Refuse("501 Syntax error (no parameters allowed)")
	case "AUTHINFO":
		return s.NeedsBackend(true, needsTLS)
	case "GET", "PUT", "OPTIONS", "CONNECT":
		return dialogue.ErrMalformed // a browser sent here by an attacker
	case "POST", "HEAD":
		if strings.Contains(arg, "HTTP/") {
			return dialogue.ErrMalformed // so is this
		}
	}
	if known[verb] {
		return s.NeedsBackend(false, needsTLS)
	}
	return s.Refuse(unknownCommand)
}

const unknownCommand = "500 Unknown command"

// ownList has no READER, since MODE READER would have to do something, and no
// AUTHINFO, which would invite clients to send a password in plaintext.
func ownList(s *dialogue.Session) []string {
	list := append([]string{"101 Capability list follows", "VERSION 2"}, s.Capabilities()...)
	if s.PlaintextAuth() {
		list = append(list, "AUTHINFO USER")
	}
	return append(list, "STARTTLS", ".")
}

func errorReply(_ *dialogue.Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		text = "400 Nothing may follow STARTTLS"
	case errors.Is(why, dialogue.ErrLineTooLong):
		text = "501 Line too long"
	case errors.Is(why, dialogue.ErrAmbiguousEnd):
		text = "400 A lone dot must stand between two CRLF"
	case errors.Is(why, dialogue.ErrMalformed):
		text = unknownCommand
	case errors.Is(why, dialogue.ErrPlaintext):
		text = needsTLS
	case errors.Is(why, dialogue.ErrTooMany):
		text = "400 Too many errors"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = "400 Too many connections from your address"
	case errors.Is(why, dialogue.ErrTimeout):
		text = "400 Timeout"
	case errors.Is(why, dialogue.ErrShutdown):
		text = "400 Service is shutting down"
	case errors.Is(why, dialogue.ErrBackend):
		text = "400 " + dialogue.UnavailableText(why, "Service temporarily unavailable")
	default:
		return nil
	}
	return dialogue.CRLF([]string{text})
}

func request(s *dialogue.Session) error {
	if err := expect(s, dialogue.ErrRefused, "200", "201"); err != nil {
		return err
	}
	if err := s.Reply("CAPABILITIES"); err != nil {
		return err
	}
	// RFC 4642 section 2.1 has servers with STARTTLS list it, and so answer CAPABILITIES.
	if err := expect(s, dialogue.ErrNotOffered, "101"); err != nil {
		return err
	}
	offered, err := readList(s)
	switch {
	case err != nil:
		return err
	case !offered:
		return dialogue.ErrNotOffered
	}
	if err := s.Reply("STARTTLS"); err != nil {
		return err
	}
	return expect(s, dialogue.ErrRefused, "382")
}

// readList reads a list of capabilities. AUTHINFO without arguments is one that has to
// wait for TLS (RFC 4643 section 2.1).
func readList(s *dialogue.Session) (offered bool, err error) {
	lines, err := s.ReadBlock()
	if err != nil {
		return false, err
	}
	login := false
	for _, line := range lines {
		keyword, n := dialogue.FirstWord([]byte(line)), len(dialogue.Words([]byte(line)))
		offered = offered || keyword == "STARTTLS" && n == 1
		login = login || keyword == "AUTHINFO" && n > 1
	}
	s.SetPlaintextLogin(login)
	return offered, nil
}

// expect reads a line with one of the wanted codes.
func expect(s *dialogue.Session, otherwise error, wanted ...string) error {
	line, err := s.ReadLine()
	if err != nil {
		return err
	}
	code := replyCode(line)
	for _, want := range wanted {
		if code == want {
			return nil
		}
	}
	if isRefusal(code) {
		return dialogue.Refusal(otherwise, line)
	}
	return dialogue.ErrMalformed
}

// isRefusal knows the codes of refusals. What is no code is none.
func isRefusal(code string) bool { return code != "" && (code[0] == '4' || code[0] == '5') }

// replyCode is the code that a reply begins with, or empty.
func replyCode(line string) string {
	code, _, _ := strings.Cut(line, " ")
	if len(code) != 3 || strings.Trim(code, "0123456789") != "" {
		return ""
	}
	return code
}
