package pop3

import (
	"bytes"
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

const pop3NoLogin = "the POP3 backend offers no way to log in: let it take passwords without TLS of its own " +
	"(Dovecot: disable_plaintext_auth=no, since 2.4 auth_allow_cleartext=yes; Cyrus: allowplaintext: yes), " +
	"or tell it of the client's TLS with the PROXY protocol"

// pop3Granted are the commands by which a backend lets a proxy speak for its clients.
var pop3Granted = []string{"XCLIENT", "PROXY"}

const pop3Trusts = "the POP3 backend offers XCLIENT to this proxy's address; clients are kept from using it, but take the " +
	"address out of login_trusted_networks (Dovecot), and tell the backend of clients with send_proxy_protocol instead"

var pop3Rules = dialogue.CommandRules{
	Line:   2048,  // RFC 2449 section 4 has 255, but for passwords some servers take more
	Answer: 12288, // as in SMTP; RFC 5034 names no limit
	Long:   []string{"AUTH"},

	SyntaxError: "-ERR Syntax error\r\n",
	TooLong:     "-ERR Line too long\r\n",
}

// A filter joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and
// takes STLS out of the answers to CAPA. It leaves when the client has logged in: there
// is no STLS after that.
type filter struct {
	dialogue.CommandFilter
	refusal string // of the client's STLS
	direct  bool   // the client is to have the greeting

	list    bool // amid the answer to CAPA
	login   bool // it had a way to log in
	noLogin bool // that it had none has been warned of
	trusts  bool // that the backend trusts us has been warned of
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil
	}
	f := &filter{direct: s.Client == dialogue.Unheard, refusal: "-ERR Command not permitted when TLS active\r\n"}
	switch {
	case s.Backend == dialogue.Introduced:
		f.refusal = "-ERR Unknown command\r\n" // it was not offered to us either
	case s.Cleartext:
		f.refusal = "-ERR STLS must come first\r\n"
	}
	f.Init(f, pop3Rules)
	return f
}

// BackendEnded reports a backend that ended before its greeting.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if f.Next() == dialogue.Greeting {
		x.CloseFor(dialogue.ErrBackend)
	}
	f.Forget()
}

func (f *filter) Reply(x *dialogue.Exchange, line []byte) {
	status, verb := dialogue.FirstWord(line), f.Next()
	switch {
	case verb == dialogue.Greeting:
		f.greeting(x, status, line)
	case f.list:
		f.capability(x, line)
	case status == "+OK" && verb == "CAPA":
		x.ToClient(line)
		f.list, f.login = true, false
	case status == "+OK" || status == "-ERR":
		x.ToClient(line)
		f.answered(x, status)
	case status == "+" && verb == "AUTH":
		x.ToClient(line)
		f.Challenged(x)
	default:
		x.ToClient(line)
	}
}

func (f *filter) greeting(x *dialogue.Exchange, status string, line []byte) {
	switch status {
	case "+OK":
		if line = f.withoutXCLIENT(x, line); f.direct {
			x.ToClient(line)
		}
		f.Replied(x)
		f.GoOn(x)
	case "-ERR":
		x.Refused()
		x.Close(line) // a client past the greeting takes it for its first command's answer
	default:
		x.CloseFor(dialogue.ErrBackend)
	}
}

// withoutXCLIENT takes out what Dovecot greets addresses with that it trusts, such as ours.
func (f *filter) withoutXCLIENT(x *dialogue.Exchange, line []byte) []byte {
	const offer = "[XCLIENT]"
	at := bytes.Index([]byte(dialogue.UpperASCII(line)), []byte(offer))
	if at < 0 {
		return line
	}
	f.warnOfTrust(x)
	return slices.Concat(line[:at], bytes.TrimLeft(line[at+len(offer):], " "))
}

func (f *filter) warnOfTrust(x *dialogue.Exchange) {
	if !f.trusts {
		f.trusts = true
		x.Warn(pop3Trusts)
	}
}

// capability passes on a line of the answer to CAPA, but not STLS, nor XCLIENT.
func (f *filter) capability(x *dialogue.Exchange, line []byte) {
	switch keyword := dialogue.FirstWord(line); {
	case keyword == "STLS":
		return
	case keyword == "XCLIENT":
		f.warnOfTrust(x)
		return
	case isPOP3Login(line):
		f.login = true
	}
	x.ToClient(line)
	if dialogue.TrimLine(line) != "." {
		return
	}
	f.list = false
	f.Replied(x)
	if !f.login && !f.noLogin {
		f.noLogin = true
		x.Warn(pop3NoLogin)
	}
}

// answered takes the end of a reply. Behind a command that logs in nothing is
// pending, since the client was held.
func (f *filter) answered(x *dialogue.Exchange, status string) {
	switch f.Replied(x) {
	case "PASS", "APOP", "AUTH":
		f.GoOn(x)
		if status == "+OK" {
			x.Detach()
		}
	}
}

func (f *filter) Command(x *dialogue.Exchange, verb string, line []byte) {
	switch {
	case verb == "STLS":
		f.Refuse(x, f.refusal) // a backend that has TLS of its own would accept it
	case slices.Contains(pop3Granted, verb):
		f.Refuse(x, "-ERR Unknown command\r\n")
	case verb == "AUTH" && len(dialogue.Words(line)) == 1:
		f.Forward(x, "", line) // asks for the mechanisms, as some servers let it
	case verb == "PASS", verb == "APOP", verb == "AUTH":
		f.ForwardAndWait(x, verb, line)
	case verb == "CAPA":
		f.Forward(x, verb, line)
	default:
		f.Forward(x, "", line)
	}
}
