package upgrade

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
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

var smtpRules = commandRules{
	line:   2048,  // as Postfix; RFC 5321 section 4.5.3.1.4 has 512, and extensions add to it
	answer: 12288, // RFC 4954 section 4
	long:   []string{"AUTH"},
	quoted: true,

	syntaxError: "500 5.5.2 Syntax error\r\n",
	tooLong:     "500 5.5.2 Line too long\r\n",
}

// smtpRejoin joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and
// edits the answers to EHLO. It leaves after one that held nothing to strip: such a
// backend has nothing that a client must be kept from. Otherwise it stays.
type smtpRejoin struct {
	commandFilter
	lmtp   bool
	direct bool // the client is to have the greeting

	plain      bool   // the client goes on in clear,
	resume     []byte // and has introduced itself,
	refuseAuth bool   // but may not authenticate

	within   bool   // amid a reply
	refusal  []byte // in place of a greeting or of our introduction, for the client's next command
	accepted int    // recipients, each of which LMTP answers for

	chunking bool   // the backend announced it
	stripped bool   // the present answer to EHLO had what is not for the client
	kept     []byte // its line that is not passed on yet, since it may become the last
	warned   bool
}

func newSMTPRejoin(s *Session, lmtp bool) Filter {
	f := &smtpRejoin{lmtp: lmtp, direct: s.Direct(), plain: s.Plain(), resume: s.resume}
	f.refuseAuth = f.plain && !s.PlaintextAuth()
	f.grammar, f.rules = f, smtpRules
	f.expect("greeting")
	return f
}

// BackendEnded reports a backend that ended before or with its greeting.
func (f *smtpRejoin) BackendEnded(x *Exchange) {
	switch {
	case f.refusal != nil:
		x.End(f.refusal)
	case f.next() == "greeting":
		x.EndFor(ErrBackend)
	}
	f.backendEnded()
}

func (f *smtpRejoin) reply(x *Exchange, line []byte) {
	code, sep, text, ok := smtpReplyLine(trimLine(line))
	if !ok {
		f.noReply(x, line)
		return
	}
	first, last := !f.within, sep == ' '
	f.within = !last
	switch verb := f.next(); {
	case verb == "greeting" && f.direct:
		x.ToClient(line)
	case verb == "greeting" && code != "220", verb == "introduction" && code != "250":
		f.refuseNext(x, line)
	case verb == "greeting":
	case verb == "introduction":
		f.notForClient(x, text, first)
	case verb == "EHLO" && code == "250":
		f.capability(x, line, f.notForClient(x, text, first), last)
	default:
		x.ToClient(line)
	}
	if last {
		f.answered(x, code)
	}
}

// noReply takes a line without a code, which is an answer to nothing.
func (f *smtpRejoin) noReply(x *Exchange, line []byte) {
	if f.next() == "greeting" {
		x.EndFor(ErrBackend)
		return
	}
	x.ToClient(line)
}

// refuseNext keeps a line of a backend's refusal for the client's next command.
func (f *smtpRejoin) refuseNext(x *Exchange, line []byte) {
	if len(f.refusal)+len(line) > maxSMTPRefusal {
		x.EndFor(ErrBackend)
		return
	}
	f.refusal = append(f.refusal, line...)
}

// notForClient looks at a line of an answer to EHLO, and reports whether it is to be
// taken out. The first one has a name, and no keyword.
func (f *smtpRejoin) notForClient(x *Exchange, text string, first bool) bool {
	if first {
		f.stripped, f.chunking = false, false
		return false
	}
	keyword := firstWord([]byte(text))
	f.chunking = f.chunking || keyword == "CHUNKING"
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
func (f *smtpRejoin) capability(x *Exchange, line []byte, strip, last bool) {
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
func (f *smtpRejoin) answered(x *Exchange, code string) {
	verb := f.next()
	switch {
	case verb == "AUTH" && code == "334":
		f.challenged(x)
		return
	case verb == "message" && f.lmtp && f.accepted > 1:
		f.expectMore(f.accepted - 1) // there is a reply for each recipient
		f.accepted = 0
	}
	f.replied(x)
	switch {
	case verb == "greeting":
		f.greeted(x)
	case verb == "introduction", verb == "EHLO":
		f.introduced(x, verb, code)
	case verb == "DATA" && code == "354":
		f.beginMessage(x)
	case verb == "DATA", verb == "AUTH":
		f.goOn(x)
	case code == "354", code == "334":
		x.EndFor(ErrBackend) // what the client sends next would be read in two ways
	default:
		f.count(verb, code)
	}
}

// greeted introduces a client that goes on in clear, and has been answered already.
func (f *smtpRejoin) greeted(x *Exchange) {
	if f.resume != nil && f.refusal == nil {
		f.forward(x, "introduction", f.resume)
		return
	}
	f.goOn(x)
}

// introduced takes the end of an answer to EHLO.
func (f *smtpRejoin) introduced(x *Exchange, verb, code string) {
	f.count(verb, code)
	if code == "250" && !f.stripped && !f.refuseAuth && !f.owing() && f.refusal == nil {
		x.Done()
	}
	if verb == "introduction" {
		f.goOn(x)
	}
}

// count follows the number of recipients.
func (f *smtpRejoin) count(verb, code string) {
	switch {
	case code[0] != '2':
	case verb == "RCPT":
		f.accepted++
	case verb == "MAIL", verb == "RSET", verb == "EHLO", verb == "message":
		f.accepted = 0
	}
}

func (f *smtpRejoin) command(x *Exchange, verb string, line []byte) {
	switch {
	case f.refusal != nil:
		f.refuse(x, string(f.refusal))
		f.refusal = nil
		return
	case slices.Contains(smtpGranted, verb), verb == "RCPT" && forwardsRecipient(line):
		f.refuse(x, "502 5.5.1 Command not available\r\n")
		return
	case verb == "AUTH" && f.refuseAuth:
		f.refuse(x, "538 5.7.11 Encryption required for authentication\r\n")
		return
	}
	switch verb {
	case "STARTTLS":
		f.secondSTARTTLS(x)
	case "EHLO", "LHLO":
		f.forward(x, "EHLO", line)
	case "MAIL", "RCPT", "RSET":
		f.forward(x, verb, line)
	case "DATA", "AUTH":
		f.forwardAndWait(x, verb, line)
	case "BDAT":
		f.chunk(x, line)
	case "BURL":
		f.forward(x, chunkVerb(words(line)), line)
	default:
		f.forward(x, "", line)
	}
}

// forwardsRecipient reports whether RCPT has the parameter by which Dovecot lets a proxy
// pass on what it knows of a recipient.
func forwardsRecipient(line []byte) bool { return strings.Contains(upperASCII(line), "XRCPTFORWARD=") }

// secondSTARTTLS refuses it ourselves, since a backend that has TLS of its own
// would accept it.
func (f *smtpRejoin) secondSTARTTLS(x *Exchange) {
	if f.plain {
		f.refuse(x, "503 5.5.1 STARTTLS must come first\r\n")
		return
	}
	f.refuse(x, "503 5.5.1 TLS already started\r\n")
}

// chunk lets the octets of a BDAT pass unread (RFC 3030 section 2). A backend that did
// not announce it would take them for commands.
func (f *smtpRejoin) chunk(x *Exchange, line []byte) {
	args := words(line)[1:]
	size := uint64(0)
	err := errors.New("no size")
	if len(args) == 1 || len(args) == 2 && equalASCII(args[1], "LAST") {
		size, err = strconv.ParseUint(args[0], 10, 62)
	}
	if err != nil {
		f.refuse(x, "501 5.5.4 Syntax error\r\n")
		return
	}
	f.payload, f.dropped = int64(size), !f.chunking //nolint:gosec // 62 bits
	if f.dropped {
		f.refuse(x, "502 5.5.1 CHUNKING is not offered\r\n")
		return
	}
	f.forward(x, chunkVerb(words(line)), line)
}

// chunkVerb is "message" for the BDAT or BURL that ends one (RFC 4468 section 3.2).
func chunkVerb(words []string) string {
	if len(words) > 1 && equalASCII(words[len(words)-1], "LAST") {
		return "message"
	}
	return ""
}
