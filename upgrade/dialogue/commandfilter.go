package dialogue

import (
	"bytes"
	"slices"
)

// A Grammar is what distinguishes one protocol of commands and replies from another.
// What such protocols have in common, and what keeps a client from a backend that
// reads more leniently than we do, is in the CommandFilter.
type Grammar interface {
	// Command decides on a command of the client's, by one of the CommandFilter's
	// methods: Forward, Refuse and their kin. The line has its terminator, no control
	// characters, and a verb; the verb is given in upper case.
	Command(x *Exchange, verb string, line []byte)

	// Reply takes a line of the backend's, with its terminator.
	Reply(x *Exchange, line []byte)
}

// An ArgumentGrammar is a Grammar of commands that may go on behind a literal, and whose
// answers in a dialogue may be literals, too.
type ArgumentGrammar interface {
	Grammar

	// Rest takes a line that goes on with a command: see CommandFilter.Continue.
	Rest(x *Exchange, line []byte)

	// Answer takes a line that answers a challenge.
	Answer(x *Exchange, line []byte)

	// Payload takes octets that CommandFilter.ReadPayload has asked for.
	Payload(x *Exchange, octets []byte)
}

// CommandRules are the limits of a protocol's command lines, and the replies to those
// that are refused.
type CommandRules struct {
	Line   int      // longest command, in octets, with its terminator
	Answer int      // longest answer in a dialogue, such as SASL's
	Long   []string // verbs of commands that may be as long as an answer
	Quoted bool     // quoted strings may hold control characters

	SyntaxError, TooLong string // with their terminators
}

// A CommandFilter is the Filter of a protocol of commands and replies. Its rules hold
// for as long as it stands between a client and a backend:
//
//   - A command line is read as the most lenient server reads it, and refused with the
//     protocol's syntax error where servers differ: it is never forwarded then.
//   - A line beyond its limit is refused, and skipped to its end.
//   - No more than MaxPending commands are without a reply. Then the client waits.
//   - A message or payload passes unread but for the place where it ends. An end that
//     two servers see in different places ends the session before the backend has it.
//   - Replies of our own wait for those that the backend owes.
type CommandFilter struct {
	replyQueue
	grammar Grammar
	rules   CommandRules

	waiting  bool // for a reply that says what the client's next octets are
	full     bool // for a reply, since there are too many commands without one
	single   bool // one is too many
	skipping bool // to the end of a line that was refused
	answer   bool // the client's next line answers a challenge

	rest bool // the client's next line goes on with a command
	gone bool // the backend has ended

	payload int64 // octets of the client's that are to pass unread
	dropped bool  // the payload is not for the backend
	collect int   // octets of the client's that are to be looked at as a whole
	message bool  // the client's octets are a message
	reply   int64 // octets of the backend's that are to pass unread
	begun   int   // octets of a line of the backend's that have been passed on, which has not ended
	end     dotEnd
}

// Init gives the filter its grammar, and has it wait for the backend's greeting, which is
// the reply to the verb Greeting.
func (f *CommandFilter) Init(grammar Grammar, rules CommandRules) {
	f.grammar, f.rules = grammar, rules
	f.Expect(Greeting)
}

// Greeting is the verb of the command, which nobody gives, that the greeting replies to.
const Greeting = "greeting"

// EndOfMessage is the verb of what ends a message: see CommandFilter.BeginMessage.
const EndOfMessage = "message"

// Start implements Filter. A backend that has not greeted yet takes early talkers for
// spammers.
func (f *CommandFilter) Start(x *Exchange) { f.Wait(x) }

// FromClient implements Filter.
func (f *CommandFilter) FromClient(x *Exchange, b []byte) int {
	switch {
	case f.payload > 0:
		return f.passPayload(x, b)
	case f.collect > 0:
		return f.readPayload(x, b)
	case f.message:
		return f.passMessage(x, b)
	case f.skipping:
		return f.skipLine(b)
	case len(f.pending) >= f.maxPending() && !f.gone:
		f.full = true
		x.Hold()
		return 0
	}
	return f.readLine(x, b)
}

func (f *CommandFilter) passPayload(x *Exchange, b []byte) int {
	n := CutRest(&f.payload, b)
	if !f.dropped {
		x.ToBackend(b[:n])
	}
	return n
}

func (f *CommandFilter) readPayload(x *Exchange, b []byte) int {
	n := f.collect
	if len(b) < n {
		return 0
	}
	f.collect = 0
	f.grammar.(ArgumentGrammar).Payload(x, b[:n])
	return n
}

// passMessage passes on all but an end that not every server takes for one.
func (f *CommandFilter) passMessage(x *Exchange, b []byte) int {
	n, found := f.end.find(b)
	x.ToBackend(b[:n])
	switch found {
	case endAmbiguous:
		x.CloseFor(ErrAmbiguousEnd)
	case endCertain:
		f.message = false
		f.Expect(EndOfMessage)
	case endNone:
	}
	return n
}

func (f *CommandFilter) skipLine(b []byte) int {
	end := bytes.IndexByte(b, '\n')
	f.skipping = end < 0
	if f.skipping {
		return len(b)
	}
	return end + 1
}

func (f *CommandFilter) readLine(x *Exchange, b []byte) int {
	end := bytes.IndexByte(b, '\n')
	limit := f.limit(b)
	switch {
	case end >= limit, end < 0 && len(b) >= limit:
		return f.refuseLong(x, b)
	case end < 0:
		return 0
	}
	line := b[:end+1]
	if f.answer || f.rest {
		f.goOnWith(x, line)
		return len(line)
	}
	verb, ok := commandVerb(line, f.rules.Quoted)
	if !ok {
		f.Refuse(x, f.rules.SyntaxError)
		return len(line)
	}
	f.grammar.Command(x, verb, line)
	return len(line)
}

// goOnWith takes a line that is no command of its own.
func (f *CommandFilter) goOnWith(x *Exchange, line []byte) {
	g, ok := f.grammar.(ArgumentGrammar)
	switch {
	case f.rest:
		f.rest = false
		g.Rest(x, line)
	case ok:
		f.answer = false
		g.Answer(x, line)
	default:
		f.forwardAnswer(x, line)
	}
}

// limit is that of the line that b begins with.
func (f *CommandFilter) limit(b []byte) int {
	if f.answer || f.rest || slices.Contains(f.rules.Long, FirstWord(b)) {
		return f.rules.Answer
	}
	return f.rules.Line
}

// refuseLong skips a line that servers cut in different places. An answer cannot be
// refused by itself: only the backend can say how the dialogue goes on.
func (f *CommandFilter) refuseLong(x *Exchange, b []byte) int {
	if f.answer || f.rest {
		x.CloseFor(ErrLineTooLong)
		return len(b)
	}
	f.Refuse(x, f.rules.TooLong)
	f.skipping = true
	return f.skipLine(b)
}

// forwardAnswer passes on an answer in a dialogue. The backend's next reply says what
// follows it.
func (f *CommandFilter) forwardAnswer(x *Exchange, line []byte) {
	if !wellFormed(line, false) {
		x.CloseFor(ErrMalformed) // the backend could read more than one line
		return
	}
	f.answer = false
	f.PassAnswer(x, line)
}

// PassAnswer passes on an answer, and waits for the reply that says what follows it.
func (f *CommandFilter) PassAnswer(x *Exchange, line []byte) {
	x.ToBackend(line)
	f.Wait(x)
}

// Forward passes on a command.
func (f *CommandFilter) Forward(x *Exchange, verb string, line []byte) {
	x.ToBackend(line)
	f.Expect(verb)
}

// ForwardAndWait passes on a command whose reply says what the client's next octets
// are: another command, a message, or an answer.
func (f *CommandFilter) ForwardAndWait(x *Exchange, verb string, line []byte) {
	f.Forward(x, verb, line)
	f.Wait(x)
}

// OneAtATime has each command wait for the reply to the one before, for a backend that
// does not let clients do otherwise.
func (f *CommandFilter) OneAtATime() { f.single = true }

func (f *CommandFilter) maxPending() int {
	if f.single {
		return 1
	}
	return MaxPending
}

// Refuse answers a command in the backend's place.
func (f *CommandFilter) Refuse(x *Exchange, reply string) { f.replyQueue.reply(x, reply) }

// Forget forgets what the backend has not answered, and will not.
func (f *CommandFilter) Forget() { f.pending, f.gone = nil, true }

// Wait keeps the client's next octets until GoOn.
func (f *CommandFilter) Wait(x *Exchange) {
	f.waiting = true
	x.Hold()
}

// GoOn ends Wait.
func (f *CommandFilter) GoOn(x *Exchange) {
	f.waiting = false
	f.release(x)
}

func (f *CommandFilter) release(x *Exchange) {
	if f.full && len(f.pending) < f.maxPending() {
		f.full = false
	}
	if !f.waiting && !f.full {
		x.Release()
	}
}

// Replied takes the end of a reply, and returns the verb that it belongs to.
func (f *CommandFilter) Replied(x *Exchange) (verb string) {
	verb = f.replied(x)
	if f.full {
		f.release(x)
	}
	return verb
}

// BeginMessage takes what the client sends from now on for a message, up to a dot alone
// on its line.
func (f *CommandFilter) BeginMessage(x *Exchange) {
	f.message, f.end = true, dotEnd{}
	f.GoOn(x)
}

// InMessage reports whether the client has begun a message and not ended it.
func (f *CommandFilter) InMessage() bool { return f.message }

// Challenged takes the client's next line for an answer.
func (f *CommandFilter) Challenged(x *Exchange) {
	f.answer = true
	f.GoOn(x)
}

// PassPayload lets the next n octets of the client's pass unread.
func (f *CommandFilter) PassPayload(n int64) { f.payload, f.dropped = n, false }

// ReadPayload has the next n octets of the client's, which are no more than MaxFiltered, go
// to ArgumentGrammar.Payload.
func (f *CommandFilter) ReadPayload(n int) { f.collect = n }

// DropPayload drops the next n octets of the client's.
func (f *CommandFilter) DropPayload(n int64) { f.payload, f.dropped = n, true }

// PassReplyPayload lets the next n octets of the backend's pass unread.
func (f *CommandFilter) PassReplyPayload(n int64) { f.reply = n }

// Continue has the client's next line, behind a payload if there is one, go on with the
// present command: it is for ArgumentGrammar.Rest. Anew ends that.
func (f *CommandFilter) Continue() { f.rest = true }

// Anew has the client's next line be a command.
func (f *CommandFilter) Anew() { f.rest, f.answer = false, false }
