package smtp

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// smtpStripped are the keywords that a backend announces but that are not for the client:
// its own upgrade, and what it grants to the address it sees, which is ours. PIPECONNECT
// would invite the client to talk before the greeting next time.
var smtpStripped = []string{"STARTTLS", "XCLIENT", "XFORWARD", "XRCPTFORWARD", "PIPECONNECT", "X_PIPE_CONNECT"}

// smtpGranted are the commands by which a backend lets a proxy speak for its clients.
// None of them is a client's: the backend grants them to our address.
var smtpGranted = []string{"XCLIENT", "XFORWARD", "XRCPTFORWARD", "XPROXY", "XPROXYFROM", "PROXY"}

const smtpTrusts = "the SMTP backend offers XCLIENT or XFORWARD to this proxy's address; clients are kept from using " +
	"it, but take the address out of smtpd_authorized_xclient_hosts and smtpd_authorized_xforward_hosts (Postfix) or " +
	"login_trusted_networks (Dovecot), and tell the backend of clients with send_proxy_protocol instead"

// The longest refusal that a backend may greet with.
const maxSMTPRefusal = 16 << 10

var smtpRules = dialogue.CommandRules{
	Line:   2048,  // as Postfix; RFC 5321 section 4.5.3.1.4 has 512, and extensions add to it
	Answer: 12288, // RFC 4954 section 4
	Long:   []string{"AUTH"},
	Quoted: true,

	SyntaxError: "500 5.5.2 Syntax error\r\n",
	TooLong:     "500 5.5.2 Line too long\r\n",
}

// A filter joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and
// edits the answers to EHLO. It leaves after one that held nothing to strip: such a
// backend has nothing that a client must be kept from. Otherwise it stays.
type filter struct {
	dialogue.CommandFilter
	lmtp   bool
	direct bool // the client is to have the greeting

	tooLate string // for STARTTLS

	plain        bool   // the client stays in plaintext,
	introduction []byte // and has introduced itself,
	refuseAuth   bool   // but may not authenticate
	lenient      bool   // we have allowed it more than the backend does

	within   bool   // amid a reply
	passing  bool   // which is passed on as it is
	refusal  []byte // in place of a greeting or of our introduction, for the client's next command
	accepted int    // recipients, each of which LMTP answers for

	chunking bool   // the backend announced it
	stripped bool   // the present answer to EHLO had what is not for the client
	kept     []byte // its line that is not passed on yet, since it may become the last
	warned   bool

	comparison *comparison // of our answer to EHLO with the backend's; nil where nobody goes by ours
}

func newFilter(s dialogue.Situation, lmtp bool) dialogue.Filter {
	if s.Upgraded {
		return nil // it offers no upgrade any more, and is a client's own server
	}
	f := &filter{lmtp: lmtp, direct: s.Client == dialogue.Unheard, plain: s.Cleartext, tooLate: "503 5.5.1 TLS already started\r\n"}
	switch {
	case s.Backend == dialogue.Introduced:
		f.tooLate = "502 5.5.1 Command not implemented\r\n" // it was not offered to us either
	case s.Cleartext:
		f.tooLate = "503 5.5.1 STARTTLS must come first\r\n"
	}
	if s.Client == dialogue.Introduced {
		f.introduction = s.Kept
	}
	f.refuseAuth = f.plain && !s.PlaintextAuth
	if s.Options.Optional && s.Backend != dialogue.Introduced { // we have announced something
		f.comparison = compareWith(s.Options)
	}
	f.Init(f, smtpRules)
	return f
}

// BackendEnded reports a backend that ended before or with its greeting.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	switch {
	case f.refusal != nil:
		x.Close(f.refusal)
	case f.Next() == dialogue.Greeting:
		x.CloseFor(dialogue.ErrBackend)
	}
	f.Forget()
}

// Passes implements dialogue.LongReplyGrammar: such are most lines of a long reply.
func (f *filter) Passes(begun []byte) bool { return f.passing && isContinued(begun) }

func (f *filter) Reply(x *dialogue.Exchange, line []byte) {
	if f.Passes(line) {
		x.ToClient(line)
		return
	}
	code, sep, text, ok := smtpReplyLine(dialogue.TrimLine(line))
	if !ok {
		f.noReply(x, line)
		return
	}
	first, last := !f.within, sep == ' '
	f.within, f.passing = !last, false
	switch verb := f.Next(); {
	case verb == dialogue.Greeting && f.direct:
		x.ToClient(line)
	case verb == dialogue.Greeting && code != "220", verb == "introduction" && code != "250":
		f.refuseNext(x, line)
	case verb == dialogue.Greeting:
	case verb == "introduction":
		f.notForClient(x, text, first)
	case verb == "EHLO" && code == "250":
		f.capability(x, line, f.notForClient(x, text, first), last)
	default:
		f.passing = !last
		x.ToClient(line)
	}
	if last {
		f.answered(x, code)
	}
}

// isContinued reports whether a line is one of a reply, but not its last.
func isContinued(line []byte) bool {
	return len(line) > 3 && line[3] == '-' && isDigit(line[0]) && isDigit(line[1]) && isDigit(line[2])
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// noReply takes a line without a code, which is an answer to nothing.
func (f *filter) noReply(x *dialogue.Exchange, line []byte) {
	if f.Next() == dialogue.Greeting {
		x.CloseFor(dialogue.ErrBackend)
		return
	}
	x.ToClient(line)
}

// refuseNext keeps a line of a backend's refusal for the client's next command.
func (f *filter) refuseNext(x *dialogue.Exchange, line []byte) {
	if len(f.refusal)+len(line) > maxSMTPRefusal {
		x.CloseFor(dialogue.ErrBackend)
		return
	}
	x.Refused()
	f.refusal = append(f.refusal, line...)
}

// notForClient looks at a line of an answer to EHLO, and reports whether it is to be
// taken out. The first one has a name, and no keyword.
func (f *filter) notForClient(x *dialogue.Exchange, text string, first bool) bool {
	if first {
		f.stripped, f.chunking = false, false
		return false
	}
	keyword := dialogue.FirstWord([]byte(text))
	f.chunking = f.chunking || keyword == "CHUNKING"
	if f.comparison != nil {
		f.comparison.see(keyword)
	}
	if slices.Contains(smtpGranted, keyword) && !f.warned {
		f.warned = true
		x.Warn(smtpTrusts)
	}
	strip := slices.Contains(smtpStripped, keyword) ||
		f.refuseAuth && (keyword == "AUTH" || strings.HasPrefix(keyword, "AUTH="))
	f.stripped = f.stripped || strip
	return strip
}

// capability passes on an answer to EHLO one line late: the last of those that are for
// the client must look like the last one (RFC 5321 section 4.2.1).
func (f *filter) capability(x *dialogue.Exchange, line []byte, strip, last bool) {
	if !strip {
		x.ToClient(f.kept)
		f.kept = bytes.Clone(line)
	}
	if !last {
		return
	}
	if len(f.kept) > 3 && f.kept[3] == '-' {
		f.kept[3] = ' '
	}
	x.ToClient(f.kept)
	f.kept = nil
}

// answered takes the end of a reply.
func (f *filter) answered(x *dialogue.Exchange, code string) {
	verb := f.Next()
	switch {
	case verb == "AUTH" && code == "334":
		f.Challenged(x)
		return
	case verb == dialogue.EndOfMessage && f.lmtp && f.accepted > 1:
		f.ExpectMore(f.accepted - 1) // there is a reply for each recipient
		f.accepted = 0
	}
	f.Replied(x)
	switch {
	case verb == dialogue.Greeting:
		f.greeted(x)
	case verb == "introduction", verb == "EHLO":
		f.introduced(x, verb, code)
	case verb == "DATA" && code == "354":
		f.BeginMessage(x)
	case verb == "DATA", verb == "AUTH":
		f.GoOn(x)
	case code == "354", code == "334":
		x.CloseFor(dialogue.ErrBackend) // what the client sends next would be read in two ways
	default:
		f.count(verb, code)
	}
}

// greeted introduces a client that stays in plaintext, and has been answered already.
func (f *filter) greeted(x *dialogue.Exchange) {
	if f.introduction != nil && f.refusal == nil {
		f.Forward(x, "introduction", f.introduction)
		return
	}
	f.GoOn(x)
}

// introduced takes the end of an answer to EHLO.
func (f *filter) introduced(x *dialogue.Exchange, verb, code string) {
	f.count(verb, code)
	helo := verb == "introduction" && dialogue.FirstWord(f.introduction) == "HELO" // its answer has no keywords
	if code == "250" && !helo {
		f.compared(x, verb)
	}
	if code == "250" && !helo && !f.stripped && !f.refuseAuth && !f.lenient && !f.Owing() && f.refusal == nil {
		x.Detach()
	}
	if verb == "introduction" {
		f.GoOn(x)
	}
}

// count follows the number of recipients.
func (f *filter) count(verb, code string) {
	switch {
	case code[0] != '2':
	case verb == "RCPT":
		f.accepted++
	case verb == "MAIL", verb == "RSET", verb == "EHLO", verb == dialogue.EndOfMessage:
		f.accepted = 0
	}
}

func (f *filter) Command(x *dialogue.Exchange, verb string, line []byte) {
	switch {
	case f.refusal != nil:
		f.Refuse(x, string(f.refusal))
		f.refusal = nil
		return
	case slices.Contains(smtpGranted, verb), verb == "RCPT" && forwardsRecipient(line):
		f.Refuse(x, "502 5.5.1 Command not available\r\n")
		return
	case verb == "AUTH" && f.refuseAuth:
		x.RefusedLogin()
		f.Refuse(x, "538 5.7.11 Encryption required for authentication\r\n")
		return
	}
	switch verb {
	case "STARTTLS":
		f.Refuse(x, f.tooLate) // a backend that has TLS of its own would accept it
	case "EHLO", "LHLO":
		f.Forward(x, "EHLO", line)
	case "MAIL", "RCPT", "RSET":
		f.Forward(x, verb, line)
	case "DATA", "AUTH":
		f.ForwardAndWait(x, verb, line)
	case "BDAT":
		f.chunk(x, line)
	case "BURL":
		f.Forward(x, chunkVerb(dialogue.Words(line)), line)
	default:
		f.Forward(x, "", line)
	}
}

// forwardsRecipient reports whether RCPT has the parameter by which Dovecot lets a proxy
// pass on what it knows of a recipient.
func forwardsRecipient(line []byte) bool {
	return strings.Contains(dialogue.UpperASCII(line), "XRCPTFORWARD=")
}

// chunkBits is how large the size of a chunk may be: Exim takes it modulo 2^32, and others
// may take half of the rest for negative.
const chunkBits = 31

// chunk lets the octets of a BDAT pass unread (RFC 3030 section 2). A backend that did
// not announce it would take them for commands.
func (f *filter) chunk(x *dialogue.Exchange, line []byte) {
	args := dialogue.Words(line)[1:]
	size := uint64(0)
	err := errors.New("no size")
	if len(args) == 1 || len(args) == 2 && dialogue.EqualASCII(args[1], "LAST") {
		size, err = strconv.ParseUint(args[0], 10, chunkBits)
	}
	if err != nil {
		f.Refuse(x, "501 5.5.4 Syntax error\r\n")
		return
	}
	if !f.chunking {
		f.DropPayload(int64(size))
		f.Refuse(x, "502 5.5.1 CHUNKING is not offered\r\n")
		return
	}
	f.PassPayload(int64(size))
	f.Forward(x, chunkVerb(dialogue.Words(line)), line)
}

// chunkVerb is EndOfMessage for the BDAT or BURL that ends one (RFC 4468 section 3.2).
func chunkVerb(words []string) string {
	if len(words) > 1 && dialogue.EqualASCII(words[len(words)-1], "LAST") {
		return dialogue.EndOfMessage
	}
	return ""
}
