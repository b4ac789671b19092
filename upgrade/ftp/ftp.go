// Package ftp is the upgrade of FTP, and what stands between its clients and servers then:
// RFC 4217.
//
//	S: 220 ftp.example.com FTP server ready
//	C: AUTH TLS
//	S: 234 AUTH TLS accepted, expecting TLS negotiation
//	   TLS; the backend's greeting is swallowed
//	C: PBSZ 0, PROT P                        are answered here: the backend has no TLS
//	C: EPSV
//	B: 229 (|||2021|)
//	S: 229 (|||50000|)                       where we listen, for one connection of this client's
package ftp

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is FTP, which upgrades with AUTH TLS, RFC 4217. Its data connections are made by
// the data service that the filter is lent.
var Protocol = &dialogue.Protocol{
	Name:        "ftp",
	Aliases:     []string{"ftps", "ftpes", "ftp-tls", "ftp-data"},
	Port:        21,
	Facts:       dialogue.Facts{Ports: "21", Upgrade: "`AUTH TLS`", Document: "RFC 4217"},
	ServerFirst: true,
	ALPN:        []string{"ftp"},
	DataALPN:    []string{"ftp-data"}, // FileZilla's
	Options:     dialogue.DataOptions,
	Accept:      accept,
	Request:     request,
	ErrorReply:  errorReply,
	Resume:      dialogue.ResumesAtOnce, // a refused AUTH changes nothing
	Join:        newFilter,
	Greeting:    "220 %s FTP server ready\r\n",

	DataConnections: true,
	CheckCapability: checkCapability,

	ImplicitPort: 990,
	Inquire:      inquire,
	Quit:         "QUIT\r\n",
}

// checkCapability knows what FEAT lists (RFC 2389 section 3.2). None of it is a way to log in.
func checkCapability(capability string) error {
	keyword, _, _ := strings.Cut(capability, " ")
	if !dialogue.IsKeyword(keyword, "-_.;*") {
		return errors.New("is no feature of FTP: letters and digits, and arguments behind a blank")
	}
	return dialogue.CheckCapability(capability, notForClients, nil)
}

// A server is what has been said of a client before TLS.
type server struct {
	*dialogue.Session
	introduction string // what a backend is to be told if the client stays in plaintext
}

// accept knows AUTH TLS by all its names (RFC 4217 section 17). None of them protects the
// data connections without PROT.
func accept(session *dialogue.Session) error {
	s := &server{Session: session}
	err := s.Reply("220 " + s.Hostname() + " " + s.Greeting("FTP server ready"))
	for err == nil {
		line, readErr := s.ReadLine()
		if readErr != nil {
			return readErr
		}
		verb, arg := dialogue.SplitVerb(line)
		if verb == "AUTH" && isTLS(arg) && s.TLSAvailable() {
			return s.GoAhead("234 AUTH TLS accepted, expecting TLS negotiation")
		}
		err = s.answer(verb, arg)
	}
	return err
}

func isTLS(mechanism string) bool {
	switch dialogue.UpperASCII([]byte(mechanism)) {
	case "TLS", "TLS-C", "TLS-P", "SSL":
		return true
	}
	return false
}

const (
	needsTLS       = "530 TLS required: AUTH TLS must come first"
	unknownCommand = "500 Unknown command"
	notImplemented = "502 Command not implemented"
	needsSecurity  = "503 A secure connection must come first"
)

// answer answers everything but the upgrade.
func (s *server) answer(verb, arg string) error {
	switch verb {
	case "FEAT":
		return s.Reply(ownFeatures(s.Capabilities())...)
	case "OPTS", "HOST", "CLNT":
		return s.introduce(verb, arg)
	case "NOOP":
		return s.Reply("200 Ok")
	case "SYST":
		return s.Reply("215 UNIX Type: L8")
	case "HELP":
		return s.Reply("214-These commands come before TLS:", " AUTH FEAT HELP HOST NOOP OPTS QUIT SYST", "214 AUTH TLS asks for the others")
	case "QUIT":
		return errors.Join(s.Reply("221 Goodbye"), dialogue.ErrQuit)
	case "AUTH":
		return s.refuseAuth(arg)
	case "PBSZ", "PROT", "CCC":
		return s.Refuse(needsSecurity)
	case "USER":
		return s.NeedsBackend(!isAnonymous(arg), needsTLS)
	case "PASS", "ACCT":
		return s.RefuseLogin(dialogue.CRLF([]string{needsTLS}))
	case "GET", "HEAD", "POST", "PUT", "OPTIONS", "CONNECT":
		return dialogue.ErrMalformed // a browser sent here by an attacker
	}
	if known[verb] {
		return s.Refuse(needsTLS)
	}
	return s.Refuse(unknownCommand)
}

func (s *server) refuseAuth(arg string) error {
	switch {
	case isTLS(arg):
		return s.Refuse("431 TLS is not available for now")
	case arg == "":
		return s.Refuse("501 AUTH needs a mechanism")
	}
	return s.Refuse("504 Unknown mechanism, use AUTH TLS")
}

// introduce keeps what clients establish before they log in. The name of the host also
// chooses the certificate (RFC 7151 section 3).
func (s *server) introduce(verb, arg string) error {
	reply := "200 Ok"
	switch {
	case arg == "":
		return s.Refuse("501 An argument is missing")
	case verb == "OPTS" && !dialogue.EqualASCII(arg, "UTF8 ON") && !dialogue.EqualASCII(arg, "UTF8"):
		return s.Refuse("501 Unknown option")
	case verb == "HOST":
		s.SetServerName(strings.Trim(arg, "[]"))
		reply = "220 Host accepted"
	}
	if len(s.introduction) < maxIntroduction {
		s.introduction += verb + " " + arg + "\r\n"
		s.Introduce(s.introduction)
	}
	return s.Reply(reply)
}

// maxIntroduction bounds what is kept before a command that is not kept any more, in octets.
const maxIntroduction = 512

// isAnonymous knows the users whose password is none (RFC 1635).
func isAnonymous(user string) bool {
	return dialogue.EqualASCII(user, "anonymous") || dialogue.EqualASCII(user, "ftp")
}

func errorReply(_ *dialogue.Session, why error) []byte {
	text := ""
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		text = "421 Nothing may follow AUTH TLS"
	case errors.Is(why, dialogue.ErrLineTooLong):
		text = "500 Line too long"
	case errors.Is(why, dialogue.ErrMalformed):
		text = unknownCommand
	case errors.Is(why, dialogue.ErrPlaintext):
		text = needsTLS
	case errors.Is(why, dialogue.ErrTooMany):
		text = "421 Too many errors"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		text = "421 Too many connections from your address"
	case errors.Is(why, dialogue.ErrTimeout):
		text = "421 Timeout"
	case errors.Is(why, dialogue.ErrShutdown):
		text = "421 Service is shutting down"
	case errors.Is(why, dialogue.ErrBackend):
		text = "421 " + dialogue.UnavailableText(why, "Service not available, closing control connection")
	default:
		return nil
	}
	return dialogue.CRLF([]string{text})
}
