package upgrade

import (
	"bytes"
	"slices"
)

// A grammar is what distinguishes one protocol of commands and replies from another.
// What such protocols have in common, and what keeps a client from a backend that
// reads more leniently than we do, is in the commandFilter.
type grammar interface {
	// command decides on a command of the client's, by one of the commandFilter's
	// methods: forward, refuse and their kin. The line has its terminator, no control
	// characters, and a verb; the verb is given in upper case.
	command(x *Exchange, verb string, line []byte)

	// reply takes a line of the backend's, with its terminator.
	reply(x *Exchange, line []byte)
}

// commandRules are the limits of a protocol's command lines, and the replies to those
// that are refused.
type commandRules struct {
	line   int      // longest command, in octets, with its terminator
	answer int      // longest answer in a dialogue, such as SASL's
	long   []string // verbs of commands that may be as long as an answer
	quoted bool     // quoted strings may hold control characters

	syntaxError, tooLong string // with their terminators
}

// maxReplyLine bounds a line of the backend's that is no payload.
const maxReplyLine = 16 << 10

// A commandFilter is the Filter of a protocol of commands and replies. Its rules hold
// for as long as it stands between a client and a backend:
//
//   - A command line is read as the most lenient server reads it, and refused with the
//     protocol's syntax error where servers differ: it is never forwarded then.
//   - A line beyond its limit is refused, and skipped to its end.
//   - No more than maxPending commands are without a reply. Then the client waits.
//   - A message or payload passes unread but for the place where it ends. An end that
//     two servers see in different places ends the session before the backend has it.
//   - Replies of our own wait for those that the backend owes.
type commandFilter struct {
	replyQueue
	grammar
	rules commandRules

	waiting  bool // for a reply that says what the client's next octets are
	full     bool // for a reply, since there are too many commands without one
	skipping bool // to the end of a line that was refused
	answer   bool // the client's next line answers a challenge

	gone bool // the backend has ended

	payload int64 // octets of the client's that are to pass unread
	dropped bool  // the payload is not for the backend
	message bool  // the client's octets are a message
	end     dotEnd
}

// Start implements Filter. A backend that has not greeted yet takes early talkers for
// spammers.
func (f *commandFilter) Start(x *Exchange) { f.wait(x) }

// FromClient implements Filter.
func (f *commandFilter) FromClient(x *Exchange, b []byte) int {
	switch {
	case f.payload > 0:
		return f.passPayload(x, b)
	case f.message:
		return f.passMessage(x, b)
	case f.skipping:
		return f.skipLine(b)
	case len(f.pending) >= maxPending && !f.gone:
		f.full = true
		x.Hold()
		return 0
	}
	return f.readLine(x, b)
}

// FromBackend implements Filter.
func (f *commandFilter) FromBackend(x *Exchange, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end >= maxReplyLine, end < 0 && len(b) >= maxReplyLine:
		x.EndFor(ErrBackend) // no reply that anybody knows is that long
		return len(b)
	case end < 0:
		return 0
	}
	f.grammar.reply(x, b[:end+1])
	return end + 1
}

func (f *commandFilter) passPayload(x *Exchange, b []byte) int {
	n := int(min(f.payload, int64(len(b))))
	f.payload -= int64(n)
	if !f.dropped {
		x.ToBackend(b[:n])
	}
	return n
}

// passMessage passes on all but an end that not every server takes for one.
func (f *commandFilter) passMessage(x *Exchange, b []byte) int {
	n, found := f.end.find(b)
	x.ToBackend(b[:n])
	switch found {
	case endAmbiguous:
		x.EndFor(errAmbiguousEnd)
	case endCertain:
		f.message = false
		f.expect("message")
	case endNone:
	}
	return n
}

func (f *commandFilter) skipLine(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	f.skipping = end < 0
	if f.skipping {
		return len(b)
	}
	return end + 1
}

func (f *commandFilter) readLine(x *Exchange, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	limit := f.limit(b)
	switch {
	case end >= limit, end < 0 && len(b) >= limit:
		return f.refuseLong(x, b)
	case end < 0:
		return 0
	}
	line := b[:end+1]
	if f.answer {
		f.forwardAnswer(x, line)
		return len(line)
	}
	verb, ok := commandVerb(line, f.rules.quoted)
	if !ok {
		f.refuse(x, f.rules.syntaxError)
		return len(line)
	}
	f.grammar.command(x, verb, line)
	return len(line)
}

// limit is that of the line that b begins with.
func (f *commandFilter) limit(b []byte) int {
	if f.answer || slices.Contains(f.rules.long, firstWord(b)) {
		return f.rules.answer
	}
	return f.rules.line
}

// refuseLong skips a line that servers cut in different places. An answer cannot be
// refused by itself: only the backend can say how the dialogue goes on.
func (f *commandFilter) refuseLong(x *Exchange, b []byte) int {
	if f.answer {
		x.EndFor(ErrLineTooLong)
		return len(b)
	}
	f.refuse(x, f.rules.tooLong)
	f.skipping = true
	return f.skipLine(b)
}

// forwardAnswer passes on an answer in a dialogue. The backend's next reply says what
// follows it.
func (f *commandFilter) forwardAnswer(x *Exchange, line []byte) {
	if !wellFormed(line, false) {
		x.EndFor(ErrMalformed) // the backend could read more than one line
		return
	}
	f.answer = false
	x.ToBackend(line)
	f.wait(x)
}

// forward passes on a command.
func (f *commandFilter) forward(x *Exchange, verb string, line []byte) {
	x.ToBackend(line)
	f.expect(verb)
}

// forwardAndWait passes on a command whose reply says what the client's next octets
// are: another command, a message, or an answer.
func (f *commandFilter) forwardAndWait(x *Exchange, verb string, line []byte) {
	f.forward(x, verb, line)
	f.wait(x)
}

// refuse answers a command in the backend's place.
func (f *commandFilter) refuse(x *Exchange, reply string) { f.replyQueue.reply(x, reply) }

// backendEnded forgets what the backend has not answered, and will not.
func (f *commandFilter) backendEnded() { f.pending, f.gone = nil, true }

// wait keeps the client's next octets until goOn.
func (f *commandFilter) wait(x *Exchange) {
	f.waiting = true
	x.Hold()
}

// goOn ends wait.
func (f *commandFilter) goOn(x *Exchange) {
	f.waiting = false
	f.release(x)
}

func (f *commandFilter) release(x *Exchange) {
	if f.full && len(f.pending) < maxPending {
		f.full = false
	}
	if !f.waiting && !f.full {
		x.Release()
	}
}

// replied takes the end of a reply, and returns the verb that it belongs to.
func (f *commandFilter) replied(x *Exchange) (verb string) {
	verb = f.replyQueue.replied(x)
	if f.full {
		f.release(x)
	}
	return verb
}

// beginMessage takes what the client sends from now on for a message, up to a dot alone
// on its line.
func (f *commandFilter) beginMessage(x *Exchange) {
	f.message, f.end = true, dotEnd{}
	f.goOn(x)
}

// challenged takes the client's next line for an answer.
func (f *commandFilter) challenged(x *Exchange) {
	f.answer = true
	f.goOn(x)
}
