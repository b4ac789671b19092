package upgrade

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

// Keywords that a backend announces but that are not for the client: its own
// upgrade, and what it grants to the address it sees, which is ours. PIPECONNECT
// would invite the client to talk before the greeting next time.
var smtpStripped = []string{"STARTTLS", "XCLIENT", "XFORWARD", "PIPECONNECT", "X_PIPE_CONNECT"}

// maxSMTPReply bounds a reply that is held until its last line is known.
const maxSMTPReply = 16 << 10

// smtpRejoin joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and
// edits the answers to EHLO. If the first of them held nothing to strip, that was
// all; otherwise the backend may announce it again, and commands and replies are
// followed to the end of the session.
type smtpRejoin struct {
	lineFilter
	replyQueue
	lmtp   bool
	direct bool // the client is to have the greeting

	plain      bool   // the client goes on in clear,
	resume     []byte // and has introduced itself,
	refuseAuth bool   // but may not authenticate

	greeted  bool
	refusal  []byte   // a greeting other than 220, for the client's first command
	lines    [][]byte // lines of the present reply
	size     int      // of these
	accepted int      // recipients, each of which LMTP answers for

	message  bool // the client is sending a message, after 354
	lineEnd  bool // in it: the line before ended with CRLF
	dialogue bool // the client's next line answers a 334
}

func newSMTPRejoin(s *Session, lmtp bool) Filter {
	f := &smtpRejoin{lmtp: lmtp, direct: s.Direct(), plain: s.Plain(), resume: s.resume}
	f.refuseAuth = f.plain && !s.PlaintextAuth()
	f.client, f.backend, f.clientTail = f.fromClient, f.fromBackend, f.tooLong
	return f
}

// Start implements Filter.
func (f *smtpRejoin) Start(x *Exchange) { x.Hold() }

// BackendEnded reports a backend that ended before or with its greeting.
func (f *smtpRejoin) BackendEnded(x *Exchange) {
	switch {
	case f.refusal != nil:
		x.End(f.refusal)
	case !f.greeted:
		x.EndFor(ErrBackend)
	}
}

func (f *smtpRejoin) fromBackend(x *Exchange, line []byte) {
	f.lines = append(f.lines, bytes.Clone(line))
	f.size += len(line)
	_, sep, _, ok := smtpReplyLine(trimLine(line))
	if ok && sep == '-' && f.size < maxSMTPReply {
		return
	}
	reply := f.lines
	f.lines, f.size = nil, 0
	code := string(reply[0][:min(3, len(reply[0]))])
	if !f.greeted {
		f.greeting(x, code, bytes.Join(reply, nil))
		return
	}
	f.answer(x, code, reply)
}

func (f *smtpRejoin) greeting(x *Exchange, code string, reply []byte) {
	f.greeted = true
	if f.direct {
		x.ToClient(reply)
	}
	switch {
	case code != "220" && f.direct:
		x.Done()
	case code != "220":
		f.refusal = reply
	case f.resume != nil:
		f.resumed(x)
		return
	}
	x.Release()
}

// resumed introduces a client that goes on in clear, and has been answered already.
func (f *smtpRejoin) resumed(x *Exchange) {
	x.ToBackend(f.resume)
	f.expect("resume")
}

// introduced is the answer to it. Only an error is for the client, as the answer to
// its next command.
func (f *smtpRejoin) introduced(x *Exchange, code string, reply [][]byte) {
	f.replied(x)
	if code != "250" {
		f.refusal = bytes.Join(reply, nil)
	}
	_, clean := f.strip(reply)
	if clean && !f.refuseAuth && f.refusal == nil {
		x.Done()
	}
	x.Release()
}

// strip edits the answer to EHLO, for what is not for the client.
func (f *smtpRejoin) strip(reply [][]byte) (kept [][]byte, clean bool) {
	keywords := smtpStripped
	if f.refuseAuth {
		keywords = append([]string{"AUTH"}, smtpStripped...)
	}
	return smtpStrip(reply, keywords)
}

// answer passes on a whole reply, to a command that is known.
func (f *smtpRejoin) answer(x *Exchange, code string, reply [][]byte) {
	verb := f.next()
	if verb == "resume" {
		f.introduced(x, code, reply)
		return
	}
	clean := true
	if verb == "EHLO" && code == "250" {
		reply, clean = f.strip(reply)
	}
	x.ToClient(bytes.Join(reply, nil))
	if verb == "message" {
		f.endOfMessage()
	}
	f.replied(x)
	switch {
	case verb == "EHLO" && code == "250" && clean && !f.refuseAuth && !f.owing():
		x.Done()
	case verb == "RCPT" && code[0] == '2':
		f.accepted++
	case (verb == "MAIL" || verb == "RSET" || verb == "EHLO") && code[0] == '2':
		f.accepted = 0
	case verb == "DATA":
		f.message, f.lineEnd = code == "354", true
		x.Release()
	case verb == "AUTH":
		f.dialogue = code == "334"
		x.Release()
	}
}

// smtpStrip drops the lines whose keyword is not for the client, and makes the
// last of the others the last one.
func smtpStrip(reply [][]byte, keywords []string) (kept [][]byte, clean bool) {
	for i, line := range reply {
		_, _, text, _ := smtpReplyLine(trimLine(line))
		keyword, _, _ := strings.Cut(strings.ToUpper(text), " ")
		if i == 0 || !slices.Contains(keywords, keyword) {
			kept = append(kept, line)
		}
	}
	if last := kept[len(kept)-1]; len(last) > 3 && last[3] == '-' {
		last[3] = ' '
	}
	return kept, len(kept) == len(reply)
}

func (f *smtpRejoin) fromClient(x *Exchange, line []byte) {
	switch {
	case f.refusal != nil:
		x.ToClient(f.refusal)
		f.refusal = nil
		x.Done()
	case f.message:
		f.messageLine(x, line)
	case f.dialogue:
		f.dialogue = false
		f.forward(x, "AUTH", line)
		x.Hold()
	default:
		f.command(x, line)
	}
}

// messageLine passes on a line of a message. Only a dot alone between two CRLF
// ends it (RFC 5321 section 4.1.1.4).
func (f *smtpRejoin) messageLine(x *Exchange, line []byte) {
	x.ToBackend(line)
	if f.lineEnd && string(line) == ".\r\n" {
		f.message = false
		f.forward(x, "message", nil)
	}
	f.lineEnd = bytes.HasSuffix(line, []byte("\r\n"))
}

// endOfMessage follows its first reply. In LMTP there is one for each recipient,
// and how many those are is known now that RCPT has been answered.
func (f *smtpRejoin) endOfMessage() {
	if f.lmtp && f.accepted > 1 {
		f.expectMore(f.accepted - 1)
	}
	f.accepted = 0
}

// tooLong follows the end of a line that was not looked at.
func (f *smtpRejoin) tooLong(x *Exchange, tail []byte) {
	switch {
	case f.message:
		f.lineEnd = bytes.HasSuffix(tail, []byte("\r\n"))
	case f.dialogue:
		f.dialogue = false
		f.forward(x, "AUTH", nil)
		x.Hold()
	default:
		f.forward(x, "", nil)
	}
}

func (f *smtpRejoin) command(x *Exchange, line []byte) {
	verb, arg := splitVerb(strings.TrimSpace(string(line))) // as lenient as Postfix
	switch {
	case verb == "STARTTLS":
		f.secondSTARTTLS(x)
		return
	case verb == "XCLIENT" || verb == "XFORWARD":
		// The backend would believe it, since it grants them to our address.
		f.reply(x, "502 5.5.1 Command not available\r\n")
		return
	case verb == "AUTH" && f.refuseAuth:
		f.reply(x, "538 5.7.11 Encryption required for authentication\r\n")
		return
	}
	switch verb {
	case "EHLO", "LHLO":
		f.forward(x, "EHLO", line)
	case "DATA", "AUTH":
		f.forward(x, verb, line)
		x.Hold() // what follows is no command until the reply says so
	case "BDAT":
		f.chunk(x, line, arg)
	default:
		f.forward(x, verb, line)
	}
}

// secondSTARTTLS refuses it ourselves, since a backend that has TLS of its own
// would accept it.
func (f *smtpRejoin) secondSTARTTLS(x *Exchange) {
	if f.plain {
		f.reply(x, "503 5.5.1 STARTTLS must come first\r\n")
		return
	}
	f.reply(x, "503 5.5.1 TLS already started\r\n")
}

// chunk lets the octets of a BDAT pass unread (RFC 3030 section 2).
func (f *smtpRejoin) chunk(x *Exchange, line []byte, arg string) {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.ParseUint(size, 10, 62)
	if err == nil {
		f.clientLiteral = int(n)
	}
	if strings.EqualFold(strings.TrimSpace(last), "LAST") {
		f.forward(x, "message", line)
		return
	}
	f.forward(x, "BDAT", line)
}

func (f *smtpRejoin) forward(x *Exchange, verb string, line []byte) {
	x.ToBackend(line)
	f.expect(verb)
}
