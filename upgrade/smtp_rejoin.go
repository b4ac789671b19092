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
// swallows the greeting and edits the answers to EHLO. If the first of them held
// nothing to strip, that was all; otherwise the backend may announce it again,
// and commands and replies are followed to the end of the session.
type smtpRejoin struct {
	lineFilter
	lmtp bool

	greeted  bool
	refusal  []byte   // a greeting other than 220, for the client's first command
	reply    [][]byte // lines of the present reply
	size     int      // of these
	pending  []string // verbs whose reply has not come yet
	accepted int      // recipients, each of which LMTP answers for

	message  bool // the client is sending a message, after 354
	lineEnd  bool // in it: the line before ended with CRLF
	dialogue bool // the client's next line answers a 334
}

func newSMTPRejoin(lmtp bool) Filter {
	f := &smtpRejoin{lmtp: lmtp}
	f.client, f.backend = f.fromClient, f.fromBackend
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
	f.reply = append(f.reply, bytes.Clone(line))
	f.size += len(line)
	_, sep, _, ok := smtpReplyLine(trimLine(line))
	if ok && sep == '-' && f.size < maxSMTPReply {
		return
	}
	reply := f.reply
	f.reply, f.size = nil, 0
	code := string(reply[0][:min(3, len(reply[0]))])
	if !f.greeted {
		f.greeting(x, code, bytes.Join(reply, nil))
		return
	}
	f.answer(x, code, reply)
}

func (f *smtpRejoin) greeting(x *Exchange, code string, reply []byte) {
	f.greeted = true
	if code != "220" {
		f.refusal = reply
	}
	x.Release()
}

// answer passes on a whole reply. Which command it belongs to is known, since
// replies come in the order of the commands.
func (f *smtpRejoin) answer(x *Exchange, code string, reply [][]byte) {
	verb := ""
	if len(f.pending) > 0 {
		verb, f.pending = f.pending[0], f.pending[1:]
	}
	clean := true
	if verb == "EHLO" && code == "250" {
		reply, clean = smtpStrip(reply)
	}
	x.ToClient(bytes.Join(reply, nil))
	switch {
	case verb == "EHLO" && code == "250" && clean:
		x.Done()
	case verb == "RCPT" && code[0] == '2':
		f.accepted++
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
func smtpStrip(reply [][]byte) (kept [][]byte, clean bool) {
	for i, line := range reply {
		_, _, text, _ := smtpReplyLine(trimLine(line))
		keyword, _, _ := strings.Cut(strings.ToUpper(text), " ")
		if i == 0 || !slices.Contains(smtpStripped, keyword) {
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
		f.endOfMessage()
	}
	f.lineEnd = bytes.HasSuffix(line, []byte("\r\n"))
}

// endOfMessage expects the final reply, or in LMTP one for each recipient.
func (f *smtpRejoin) endOfMessage() {
	replies := 1
	if f.lmtp {
		replies = f.accepted
	}
	f.accepted = 0
	for range replies {
		f.pending = append(f.pending, "")
	}
}

func (f *smtpRejoin) command(x *Exchange, line []byte) {
	verb, arg := splitVerb(trimLine(line))
	switch verb {
	case "STARTTLS":
		f.secondSTARTTLS(x)
	case "EHLO", "LHLO":
		f.forward(x, "EHLO", line)
	case "MAIL", "RSET":
		f.accepted = 0
		f.forward(x, verb, line)
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
// would accept it. STARTTLS is the last command of a group, so all replies before
// it are due; a client that does not wait for them gets this one out of turn.
func (f *smtpRejoin) secondSTARTTLS(x *Exchange) {
	x.ToClient([]byte("503 5.5.1 TLS already started\r\n"))
}

// chunk lets the octets of a BDAT pass unread (RFC 3030 section 2).
func (f *smtpRejoin) chunk(x *Exchange, line []byte, arg string) {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.ParseUint(size, 10, 62)
	if err == nil {
		f.clientLiteral = int(n)
	}
	if strings.EqualFold(strings.TrimSpace(last), "LAST") {
		x.ToBackend(line)
		f.endOfMessage()
		return
	}
	f.forward(x, "BDAT", line)
}

func (f *smtpRejoin) forward(x *Exchange, verb string, line []byte) {
	x.ToBackend(line)
	f.pending = append(f.pending, verb)
}
