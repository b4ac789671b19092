package imap

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An imapAnswer is the line of a response that is being read. It passes as it
// arrives once it is longer than maxFilterLine, and counts when it has ended.
type imapAnswer struct {
	begun     bool
	tag, word string
	list      *imapListFilter // nil if it has no capabilities
	listed    bool            // it has come to them
	withheld  bool            // it is not for the client
	more      bool            // it goes on behind a literal that came before it
	tail      []byte          // its end so far, if it came in parts
}

// FromBackend implements Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	if f.backendLiteral > 0 {
		n := int(min(f.backendLiteral, int64(len(b))))
		f.backendLiteral -= int64(n)
		x.ToClient(b[:n])
		return n
	}
	n := bytes.IndexByte(b, '\n') + 1
	ended, begun := n > 0, f.response.begun
	switch {
	case !ended && !begun && len(b) < dialogue.MaxFiltered:
		return 0
	case !ended:
		n = len(b)
	}
	if !begun {
		f.beginResponse(b[:n])
	}
	f.passResponse(x, b[:n])
	switch {
	case !ended:
		f.response.tail = keepTail(f.response.tail, b[:n])
	case begun:
		octets, _, ok := dialogue.AnnouncedLiteral(dialogue.TrimLine(keepTail(f.response.tail, b[:n])))
		f.endResponse(x, octets, ok)
	default:
		s := dialogue.ScanArguments(b[:n], false)
		f.endResponse(x, s.Octets, s.Literal)
	}
	return n
}

// beginResponse looks at the beginning of a line, all of it if it is not too long.
func (f *filter) beginResponse(line []byte) {
	r := imapAnswer{begun: true, more: f.midway}
	if !f.midway {
		text := dialogue.TrimLine(line[:min(len(line), dialogue.MaxFiltered)])
		r.tag, r.word, _ = imapReply(text)
		if _, code, ok := imapListStart(text); ok {
			f.atOnce = 0
			r.list = &imapListFilter{code: code, keep: f.keepCapability}
		}
		r.withheld = !f.greeted && !f.passesGreeting(r) || r.tag == "+" && f.waits == imapNoWait
	}
	f.response = r
}

// passesGreeting reports whether the client is to have the greeting: if it has had
// none, or if it is BYE.
func (f *filter) passesGreeting(r imapAnswer) bool {
	return r.tag == "*" && (r.word == "BYE" || f.direct && (r.word == "OK" || r.word == "PREAUTH"))
}

// keepCapability takes STARTTLS out, and learns from the rest.
func (f *filter) keepCapability(word string) bool {
	const without = 4096 // RFC 7888 section 5
	switch word {
	case "STARTTLS":
		return false
	case "LITERAL+":
		f.atOnce = dialogue.MaxFiltered
	case "LITERAL-", "IMAP4REV2": // RFC 9051 section 4.3
		f.atOnce = max(f.atOnce, without)
	case "LOGINDISABLED":
		f.disabled = true
	}
	return true
}

// passResponse passes a part of a line on.
func (f *filter) passResponse(x *dialogue.Exchange, p []byte) {
	if f.response.list != nil {
		start := 0
		if !f.response.listed {
			start, _, _ = imapListStart(string(p[:min(len(p), dialogue.MaxFiltered)]))
			f.response.listed = true
		}
		p = f.response.list.pass(bytes.Clone(p[:start]), p[start:])
	}
	if !f.response.withheld {
		x.ToClient(p)
	}
	if f.disabled && !f.warned {
		f.warned = true
		x.Warn(imapLoginDisabled)
	}
}

// endResponse follows the end of a line.
func (f *filter) endResponse(x *dialogue.Exchange, octets int64, literal bool) {
	r := f.response
	f.response = imapAnswer{}
	// In what people are to read a brace means nothing.
	f.midway = literal && (r.more || r.tag == "*" && !imapStatus(r.word))
	if f.midway {
		f.backendLiteral = octets
	}
	if !f.greeted {
		f.greeting(x, r)
		return
	}
	f.payOwed(x)
	switch {
	case r.more:
	case r.tag == "+" && r.withheld:
		x.Close([]byte("* BYE Unexpected continuation request\r\n"))
	case r.tag == "+":
		f.goOn(x)
	case r.tag == "*" && r.word == "BAD":
		f.doubt(x)
	case r.tag != "*":
		f.tagged(x, r)
	}
}

func (f *filter) greeting(x *dialogue.Exchange, r imapAnswer) {
	f.greeted = true
	switch {
	case r.tag == "*" && r.word == "BYE":
		x.Close(nil)
	case r.tag == "*" && r.word == "PREAUTH" && f.direct:
		x.Detach()
	case r.tag == "*" && r.word == "PREAUTH":
		x.Warn(imapPreauth)
		x.Close([]byte("* BYE Backend session is preauthenticated\r\n"))
	case r.tag != "*" || r.word != "OK":
		x.CloseFor(dialogue.ErrBackend)
	default:
		f.stuck = false
		x.Release()
		f.hold(x)
	}
}

// tagged follows the end of a command.
func (f *filter) tagged(x *dialogue.Exchange, r imapAnswer) {
	waiter := f.pending.lastTag()
	c, last, ok := f.pending.answered(r.tag)
	switch {
	case !ok:
		return
	case last && f.literal > 0:
		x.CloseFor(dialogue.ErrMalformed) // is the rest of the literal one for the backend?
		return
	}
	f.settle(x, last || c.doubtful && r.tag == waiter)
	if r.word == "OK" && c.kind != imapOther {
		f.leaving = true
		f.leave(x)
	}
}

// doubt follows an untagged BAD, which may be the end of a command.
func (f *filter) doubt(x *dialogue.Exchange) {
	last := f.pending.doubt()
	if last && f.literal > 0 {
		x.CloseFor(dialogue.ErrMalformed)
		return
	}
	f.settle(x, last)
}

// settle ends what the client waits for, if its present command is over, and has
// looked at again what there was no room for.
func (f *filter) settle(x *dialogue.Exchange, over bool) {
	if over && f.answered == 0 {
		f.answering = false
	}
	if over && f.waits != imapNoWait {
		f.rest, f.args, f.waits = false, nil, imapNoWait
		f.proceed(x)
	}
	f.unstick(x)
}

// leave takes the filter away once the client has logged in, and nothing is left of
// a command that the backend has not seen.
func (f *filter) leave(x *dialogue.Exchange) {
	if !f.leaving || f.refused.pending() {
		return
	}
	f.endList(x)
	x.Detach()
}

// endList passes on the word that a list of capabilities is amid.
func (f *filter) endList(x *dialogue.Exchange) {
	if r := f.response; r.list != nil && !r.withheld {
		x.ToClient(r.list.endWord(nil))
	}
}

// payOwed sends our own replies where the backend is not amid one of its own.
func (f *filter) payOwed(x *dialogue.Exchange) {
	if !f.midway && !f.response.begun && len(f.owed) > 0 {
		x.ToClient(f.owed)
		f.owed = nil
		f.unstick(x)
	}
}
