package nntp

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

var rules = dialogue.CommandRules{
	Line:   512,   // RFC 3977 section 3.1
	Answer: 12288, // as in SMTP; RFC 4643 section 2.4 lifts the limit without naming another
	Long:   []string{"AUTHINFO"},

	SyntaxError: "501 Syntax error\r\n",
	TooLong:     "501 Line too long\r\n",
}

// known are the commands (RFC 3977, 4643, 4644, 8054, and 2980 for those with an X) whose
// replies are known: any other might be answered in a way that would be misread.
var known = map[string]bool{
	"ARTICLE": true, "AUTHINFO": true, "BODY": true, "CAPABILITIES": true, "CHECK": true, "COMPRESS": true, "DATE": true,
	"GROUP": true, "HDR": true, "HEAD": true, "HELP": true, "IHAVE": true, "LAST": true, "LIST": true, "LISTGROUP": true,
	"MODE": true, "NEWGROUPS": true, "NEWNEWS": true, "NEXT": true, "OVER": true, "POST": true, "QUIT": true, "SLAVE": true,
	"STARTTLS": true, "STAT": true, "TAKETHIS": true, "XGTITLE": true, "XHDR": true, "XOVER": true, "XPAT": true, "XPATH": true,
}

// blocks are the codes behind which a block follows, up to a dot alone on its line (RFC
// 3977 section 3.2; 282 is XGTITLE's). 211 is one in the reply to LISTGROUP alone.
var blocks = map[string]bool{
	"100": true, "101": true, "215": true, "220": true, "221": true, "222": true, "224": true, "225": true, "230": true,
	"231": true, "282": true,
}

// A filter joins a client inside TLS to a backend that greets afresh. It swallows the
// greeting, unless the client began with TLS and waits for it, and takes STARTTLS out of
// the lists of capabilities. It leaves when the client has logged in or compresses: there
// is no STARTTLS after that (RFC 4642 section 2.2.2, RFC 8054 section 2.2.2).
type filter struct {
	dialogue.CommandFilter
	refusal    string // of the client's STARTTLS
	direct     bool   // the client is to have the greeting
	refuseAuth bool   // the client is in plaintext, and may not log in

	streaming bool   // the backend takes articles that it has not asked for
	list      bool   // amid a list of capabilities
	block     string // the code of another block, amid that
	seen      int    // octets of its end
}

// Verbs of commands whose reply says how it goes on, beside those that are their own.
const (
	sasl       = "AUTHINFO SASL"
	modeStream = "MODE STREAM"
)

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil // it offers no upgrade any more, and is a client's own server
	}
	f := &filter{direct: s.Client == dialogue.Unheard, refusal: "502 TLS is active already\r\n"}
	f.refuseAuth = s.Cleartext && !s.PlaintextAuth
	switch {
	case s.Backend == dialogue.Introduced:
		f.refusal = unknownCommand + "\r\n" // it was not offered to us either
	case s.Cleartext:
		f.refusal = "502 STARTTLS must come first\r\n"
	}
	f.Init(f, rules)
	return f
}

// BackendEnded reports a backend that ended before its greeting.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if f.Next() == dialogue.Greeting {
		x.CloseFor(dialogue.ErrBackend)
	}
	f.Forget()
}

// FromBackend implements dialogue.Filter. Blocks pass unread but for their end.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	if f.block == "" {
		return f.CommandFilter.FromBackend(x, b)
	}
	n, ended := f.findEnd(b)
	x.ToClient(b[:n])
	if ended {
		f.goesOn(x, f.Replied(x), f.block)
		f.block = ""
	}
	return n
}

// findEnd consumes octets of a block up to its end. A dot between other line ends is a
// part of an article, whose author may have written a reply behind it.
func (f *filter) findEnd(b []byte) (n int, ended bool) {
	const end = "\r\n.\r\n"
	for n < len(b) {
		if f.seen == 0 {
			next := bytes.IndexByte(b[n:], end[0])
			if next < 0 {
				return len(b), false
			}
			n += next
		}
		switch b[n] {
		case end[f.seen]:
			f.seen++
		case end[0]:
			f.seen = 1
		default:
			f.seen = 0
		}
		n++
		if f.seen == len(end) {
			return n, true
		}
	}
	return n, false
}

// Reply implements dialogue.Grammar.
func (f *filter) Reply(x *dialogue.Exchange, line []byte) {
	verb, code := f.Next(), replyCode(dialogue.TrimLine(line))
	switch {
	case verb == dialogue.Greeting:
		f.greeting(x, code, line)
	case f.list:
		f.capability(x, line)
	case code == "":
		x.ToClient(line) // which is an answer to nothing
	case verb == "" && f.InMessage():
		x.Close(line) // a backend that has its answer already reads the rest as commands
	default:
		x.ToClient(line)
		f.answered(x, verb, code)
	}
}

// greeting takes a backend that does not let clients post for one that does, as our own
// greeting has.
func (f *filter) greeting(x *dialogue.Exchange, code string, line []byte) {
	switch {
	case code == "200", code == "201":
		if f.direct {
			x.ToClient(line)
		}
		f.Replied(x)
		f.GoOn(x)
	case isRefusal(code):
		x.Close(line) // a client past the greeting takes it for its first command's answer
	default:
		x.CloseFor(dialogue.ErrBackend)
	}
}

// capability passes on a line of a list of capabilities, but not what is not for the
// client.
func (f *filter) capability(x *dialogue.Exchange, line []byte) {
	switch dialogue.FirstWord(line) {
	case "STARTTLS":
		return
	case "AUTHINFO", "SASL", "COMPRESS":
		if f.refuseAuth {
			return
		}
	case "STREAMING":
		f.streaming = true
	}
	x.ToClient(line)
	if dialogue.TrimLine(line) == "." {
		f.list = false
		f.Replied(x)
	}
}

// answered takes the first line of a reply, which is the only one unless a block follows.
func (f *filter) answered(x *dialogue.Exchange, verb, code string) {
	switch {
	case code == "101" && verb == "CAPABILITIES":
		f.list, f.streaming = true, false
		return
	case blocks[code], code == "211" && verb == "LISTGROUP":
		f.block, f.seen = code, len("\r\n")
		return
	case code == "383" && verb == sasl:
		f.Challenged(x)
		return
	}
	f.Replied(x)
	f.goesOn(x, verb, code)
}

// goesOn takes the end of a reply. Where it says what the client's next octets are, the
// client has waited for it.
func (f *filter) goesOn(x *dialogue.Exchange, verb, code string) {
	switch {
	case code == "340" && verb == "POST", code == "335" && verb == "IHAVE":
		f.BeginMessage(x)
	case code[0] == '3' && code != "381":
		x.CloseFor(dialogue.ErrBackend) // what the client sends next would be read in two ways
	case verb == "POST", verb == "IHAVE":
		f.GoOn(x)
	case verb == "MODE", verb == modeStream:
		f.streaming = verb == modeStream && code == "203"
		f.GoOn(x)
	case verb == "AUTHINFO", verb == sasl, verb == "COMPRESS":
		f.GoOn(x)
		if code == "281" || code == "283" || code == "206" {
			x.Detach()
		}
	}
}

// Command implements dialogue.Grammar.
func (f *filter) Command(x *dialogue.Exchange, verb string, line []byte) {
	switch {
	case !known[verb]:
		f.Refuse(x, unknownCommand+"\r\n")
	case verb == "STARTTLS":
		f.Refuse(x, f.refusal) // a backend that has TLS of its own would accept it
	case verb == "AUTHINFO":
		f.authinfo(x, line)
	case verb == "COMPRESS" && f.refuseAuth:
		f.Refuse(x, "502 Command unavailable\r\n") // what is compressed cannot be looked at
	case verb == "POST", verb == "IHAVE", verb == "COMPRESS":
		f.ForwardAndWait(x, verb, line)
	case verb == "TAKETHIS":
		f.takeThis(x, line)
	case verb == "MODE":
		f.mode(x, line)
	case verb == "CAPABILITIES", verb == "LISTGROUP":
		f.Forward(x, verb, line)
	default:
		f.Forward(x, "", line)
	}
}

// authinfo passes on a login. Its older forms go on in lines of their own.
func (f *filter) authinfo(x *dialogue.Exchange, line []byte) {
	words := dialogue.Words(line)
	switch {
	case f.refuseAuth:
		x.RefusedLogin()
		f.Refuse(x, needsTLS+"\r\n")
	case len(words) > 2 && (dialogue.EqualASCII(words[1], "USER") || dialogue.EqualASCII(words[1], "PASS")):
		f.ForwardAndWait(x, "AUTHINFO", line)
	case len(words) > 2 && dialogue.EqualASCII(words[1], "SASL"):
		f.ForwardAndWait(x, sasl, line)
	default:
		f.Refuse(x, rules.SyntaxError)
	}
}

// takeThis passes on a command that an article follows at once. A backend that has not
// said that it knows the command would take the article for commands.
func (f *filter) takeThis(x *dialogue.Exchange, line []byte) {
	if !f.streaming {
		x.CloseFor(dialogue.ErrMalformed)
		return
	}
	x.ToBackend(line)
	f.BeginMessage(x) // to whose end the reply belongs
}

// mode waits for the reply: behind MODE READER there may be another server.
func (f *filter) mode(x *dialogue.Exchange, line []byte) {
	words := dialogue.Words(line)
	if len(words) == 2 && dialogue.EqualASCII(words[1], "STREAM") {
		f.ForwardAndWait(x, modeStream, line)
		return
	}
	f.ForwardAndWait(x, "MODE", line)
}
