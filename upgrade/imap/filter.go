package imap

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

const imapLoginDisabled = "the IMAP backend announces LOGINDISABLED, so that nobody can log in: let it take " +
	"passwords without TLS of its own (Dovecot: disable_plaintext_auth=no, since 2.4 auth_allow_cleartext=yes; " +
	"Cyrus: allowplaintext: yes), or tell it of the client's TLS with the PROXY protocol"

const imapPreauth = "the IMAP backend greets with PREAUTH, which cannot be passed on to a client that is past the " +
	"greeting: let it ask for a login"

// What the client waits for, in the middle of a command.
type imapWait byte

const (
	imapNoWait  imapWait = iota
	imapForMore          // "+", before the octets of a literal
	imapForSASL          // a challenge, or the outcome of AUTHENTICATE
)

// maxSASLAnswer bounds a line in AUTHENTICATE, such as one with a Kerberos ticket.
const maxSASLAnswer = 64 << 10

// A filter joins a client inside TLS to a backend that greets afresh. It
// swallows the greeting, unless the client began with TLS and waits for it, and takes
// STARTTLS out of all lists of capabilities. It refuses STARTTLS itself, and all that
// a backend would grant to our address. What it does not understand it refuses too.
//
//	C: a ID ("name" "client")         passed on, but without fields that begin with "x-"
//	C: b LOGIN {3}                    passed on, and the client is held
//	S: + go on                        passed on; so many octets of the client's are not looked at
//	C: c STARTTLS                     refused by us: c BAD
//	S: b OK [CAPABILITY STARTTLS ..]  passed on without STARTTLS, and the filter is done
//
// It stays until the client has logged in, and nothing less ends it. UNAUTHENTICATE (RFC 8437)
// undoes a login: after it a backend that still offers STARTTLS, or trusts our address,
// does so to the client.
type filter struct {
	refusal string // of the client's STARTTLS
	noLogin bool   // the client is in plaintext, and may not log in so
	direct  bool   // the client is to have the greeting

	greeted  bool
	over     bool // the backend has nothing more to say
	leaving  bool // the client has logged in
	disabled bool // the backend announces LOGINDISABLED
	warned   bool // of that

	pending imapPending

	// Of the client's present command.
	need      int      // so many octets must arrive before it is looked at again
	args      imapArgs // of one that goes on behind a literal which waited
	rest      bool     // it goes on so
	waits     imapWait
	announced int64 // size of the literal that it waits with
	literal   int64 // octets of that literal still to pass
	answering bool  // the next line answers a challenge
	answered  int   // octets of that line so far
	refused   imapSkip
	stuck     bool // it is held until there is room, or a login is answered

	// Of the backend's present response, and what it has announced.
	response       imapAnswer
	midway         bool  // it goes on behind a literal
	backendLiteral int64 // octets of that literal still to pass
	atOnce         int64 // size up to which a literal need not wait
	owed           []byte
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil
	}
	f := &filter{direct: s.Client == dialogue.Unheard, refusal: " BAD TLS is already active\r\n"}
	f.noLogin = s.Cleartext && !s.PlaintextAuth
	switch {
	case s.Backend == dialogue.Introduced:
		f.refusal = " BAD Unknown command\r\n" // it was not offered to us either
	case s.Cleartext:
		f.refusal = " BAD STARTTLS must come first\r\n"
	}
	return f
}

// Start implements Filter.
func (f *filter) Start(x *dialogue.Exchange) { x.Hold() }

// BackendEnded reports a backend that ended before its greeting. Nothing is waited
// for any more: what the client has begun passes, as it would have on the backend's word.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if !f.greeted {
		x.CloseFor(dialogue.ErrBackend)
		return
	}
	f.over = true
	f.endList(x)
	f.goOn(x)
}

// FromClient implements Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.waits != imapNoWait || len(b) < f.need:
		return 0
	case f.refused.pending():
		n := f.refused.skip(b)
		f.leave(x)
		return n
	case f.literal > 0:
		n := int(min(f.literal, int64(len(b))))
		f.literal -= int64(n)
		x.ToBackend(b[:n])
		return n
	case f.answering:
		return f.answer(x, b)
	}
	f.need = 0
	return f.command(x, b)
}

// command judges the next part of a command.
func (f *filter) command(x *dialogue.Exchange, b []byte) int {
	r := f.read(b)
	switch {
	case r.need > 0 && r.refusal == "":
		f.need = r.need
		return 0
	case r.refusal != "":
		return f.refuse(x, r)
	case !f.rest && !f.remember(r):
		return f.wait(x)
	}
	x.ToBackend(b[:r.size])
	f.args, f.rest = nil, r.scan.Literal
	switch {
	case f.rest:
		f.announced, f.waits = r.scan.Octets, imapForMore
		if r.verb == "ID" || r.strict {
			f.args = r.args
			r.args.literal(nil) // a value
		}
	case r.verb == "AUTHENTICATE" && !f.over:
		f.waits = imapForSASL
	}
	f.hold(x)
	return r.size
}

// remember adds a command to those without an answer, and reports whether there is
// room. A backend that has ended answers none.
func (f *filter) remember(r *imapRun) bool {
	kind := imapOther
	switch r.verb {
	case "LOGIN", "AUTHENTICATE":
		kind = imapLogin
	case "COMPRESS":
		kind = imapCompress
	}
	return f.over || f.pending.add(r.tag, kind)
}

// refuse answers a command that is not passed on, and skips it. One whose beginning
// has been passed on ends the session.
func (f *filter) refuse(x *dialogue.Exchange, r *imapRun) int {
	why := dialogue.ErrMalformed
	if r.long {
		why = dialogue.ErrLineTooLong
	}
	if r.refusal == imapNoLogin {
		x.RefusedLogin()
	}
	switch {
	case f.rest:
		x.CloseFor(why)
		return r.size
	case f.over: // nobody to tell
	case r.later && f.pending.login(), len(f.owed) >= dialogue.MaxFiltered:
		return f.wait(x)
	default:
		f.owed = append(f.owed, r.tag+r.refusal...)
		f.payOwed(x)
	}
	f.refused.begin(r)
	return r.size
}

// wait consumes nothing until there is an answer from the backend.
func (f *filter) wait(x *dialogue.Exchange) int {
	f.stuck = true
	x.Hold()
	return 0
}

// hold holds what the client sends behind a literal that it should wait with, and
// behind an answer in AUTHENTICATE: the backend decides what it is.
func (f *filter) hold(x *dialogue.Exchange) {
	switch {
	case f.waits == imapNoWait:
	case f.over:
		f.goOn(x)
	default:
		x.Hold()
	}
}

// goOn has the client send what it has waited with.
func (f *filter) goOn(x *dialogue.Exchange) {
	switch f.waits {
	case imapForMore:
		f.literal = f.announced
	case imapForSASL:
		f.answering, f.answered = true, 0
	}
	f.proceed(x)
}

// proceed ends what the client waits for.
func (f *filter) proceed(x *dialogue.Exchange) {
	f.waits, f.stuck = imapNoWait, false
	x.Release()
}

// answer passes on a line in AUTHENTICATE, which is no command, in the parts in which it
// arrives.
func (f *filter) answer(x *dialogue.Exchange, b []byte) int {
	n := bytes.IndexByte(b, '\n') + 1
	ended := n > 0
	if !ended {
		n = len(bytes.TrimSuffix(b, []byte("\r"))) // which may be half of the line's end
	}
	f.answered += n
	switch {
	case f.answered > maxSASLAnswer:
		x.CloseFor(dialogue.ErrLineTooLong)
		return len(b)
	case !dialogue.WellFormed(b[:n]): // the backend could read more than one line
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	x.ToBackend(b[:n])
	if ended {
		f.answering = false
		if !f.over && f.pending.loginLast() { // else it has been answered meanwhile
			f.waits = imapForSASL
		}
		f.hold(x)
	}
	return n
}

// takesAtOnce reports whether the backend has announced that a literal of this size
// need not wait.
func (f *filter) takesAtOnce(octets int64) bool { return octets <= f.atOnce && f.atOnce > 0 }

// unstick has looked at again what there was no room for.
func (f *filter) unstick(x *dialogue.Exchange) {
	if f.stuck && f.waits == imapNoWait {
		f.proceed(x)
	}
}
