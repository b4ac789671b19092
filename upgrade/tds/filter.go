package tds

import (
	"cmp"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A stage is how far a session has come.
type stage int

const (
	begins  stage = iota // the client's PRELOGIN is next
	answers              // the backend's answer is next
	refuses              // the client has no TLS, and has been told that it is required
	logsIn               // the client's login is next, inside TLS unless it may stay in plaintext
)

// A filter stands between a client and a backend until the client logs in. The backend hears
// that the client has no TLS, and the client hears what it must of the backend's answer.
type filter struct {
	stage   stage
	direct  bool // the client began with TLS, and may say anything of it
	stays   bool // a client may stay in plaintext
	offers  bool // TLS can be had
	longest int  // a PRELOGIN
	settled bool // there is nothing to negotiate any more
	answer  byte // what the client is told of TLS
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded || s.Backend == dialogue.Introduced {
		return newInside(s.Kept)
	}
	return &filter{
		direct:  s.ImplicitTLS,
		settled: s.ImplicitTLS,
		stays:   s.PlaintextAuth,
		offers:  s.Options.TLSAvailable == nil || s.Options.TLSAvailable(),
		longest: cmp.Or(s.Options.Limits.Message, maxPrelogin),
	}
}

// Start implements dialogue.Filter.
func (*filter) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.stage == answers:
		x.Hold()
		return 0
	case f.stage == logsIn, f.stage == begins && f.stays && isLogin(b[0]):
		return passLogin(x, b)
	case !f.direct && (f.stage == refuses || isLogin(b[0])):
		if isLogin(b[0]) {
			x.RefusedLogin()
		}
		x.CloseFor(dialogue.ErrPlaintext)
		return len(b)
	}
	size, err := cutPacket(b, typePrelogin, f.longest)
	switch {
	case err != nil:
		x.CloseFor(err)
		return len(b)
	case size == 0:
		return 0
	}
	return f.begin(x, b[:size])
}

// passLogin lets a login through, and nothing else: not another PRELOGIN, above all.
func passLogin(x *dialogue.Exchange, b []byte) int {
	if isLogin(b[0]) {
		x.Detach()
		return 0
	}
	x.CloseFor(dialogue.ErrMalformed)
	return len(b)
}

// begin takes the client's PRELOGIN.
func (f *filter) begin(x *dialogue.Exchange, packet []byte) int {
	p, ok := parsePrelogin(packet)
	switch {
	case !ok, !f.direct && !p.known():
		x.CloseFor(dialogue.ErrMalformed)
	case f.direct:
		f.ask(x, p)
	case p.encryption() == encryptNotSup && f.stays:
		f.settled = true
		f.ask(x, p)
	case p.encryption() == encryptNotSup:
		f.stage = refuses
		x.ToClient(ownPrelogin(typeReply, p.answer()))
	case !f.offers:
		x.Close(tlsUnavailable.reply())
	default:
		f.ask(x, p)
	}
	return len(packet)
}

// ask passes a PRELOGIN on.
func (f *filter) ask(x *dialogue.Exchange, p prelogin) {
	f.stage, f.answer = answers, p.answer()
	x.ToBackend(p.with(encryptNotSup))
}

// FromBackend implements dialogue.Filter. A backend speaks when it is asked.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	size, err := cutPacket(b, typeReply, maxPrelogin)
	switch {
	case err != nil, f.stage != answers:
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case size == 0:
		return 0
	}
	p, ok := parsePrelogin(b[:size])
	switch {
	case b[headSize] == tokenError:
		x.Refused()
		x.Close(b[:size])
	case !ok:
		x.CloseFor(dialogue.ErrBackend)
	case p.encryption() != encryptNotSup:
		x.Warn(`the backend takes no TDS client without TLS: set "Force Encryption" off there, or put starttls_upstream in front of it`)
		x.CloseFor(dialogue.ErrBackend)
	case f.settled:
		x.ToClient(b[:size])
	default:
		x.Upgrade(p.with(f.answer))
	}
	f.stage = logsIn
	x.Release()
	return size
}

// BackendEnded tells a client that waits for something.
func (*filter) BackendEnded(x *dialogue.Exchange) { x.CloseFor(dialogue.ErrBackend) }

// inside makes a server that has been upgraded, or has not, look like one without TLS. It has
// had a PRELOGIN, so that the client's is answered here.
type inside struct {
	answer   []byte
	answered bool
}

func newInside(kept []byte) *inside {
	if len(kept) > headSize {
		if p, ok := parsePrelogin(kept); ok {
			return &inside{answer: p.with(encryptNotSup)}
		}
	}
	return &inside{answer: ownPrelogin(typeReply, encryptNotSup)}
}

// Start implements dialogue.Filter.
func (*inside) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter. A client that insists on TLS ends the connection
// itself when it hears the answer.
func (f *inside) FromClient(x *dialogue.Exchange, b []byte) int {
	if f.answered {
		return passLogin(x, b)
	}
	size, err := cutPacket(b, typePrelogin, maxPrelogin)
	if err == nil && size > 0 {
		if _, ok := parsePrelogin(b[:size]); !ok {
			err = dialogue.ErrMalformed
		}
	}
	switch {
	case err != nil:
		x.CloseFor(err)
		return len(b)
	case size > 0:
		f.answered = true
		x.ToClient(f.answer)
	}
	return size
}

// FromBackend implements dialogue.Filter. A server does not speak first inside TLS.
func (*inside) FromBackend(x *dialogue.Exchange, b []byte) int {
	x.CloseFor(dialogue.ErrBackend)
	return len(b)
}

// BackendEnded tells a client that waits for an answer.
func (*inside) BackendEnded(x *dialogue.Exchange) { x.CloseFor(dialogue.ErrBackend) }
