package nbd

import (
	"bytes"
	"encoding/binary"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A filter joins a client to a server while they negotiate. Towards a server that greets it repeats the
// flags that the client has chosen before TLS. It refuses NBD_OPT_STARTTLS, passes on one option at a time,
// and leaves when the export is chosen: what follows are blocks.
type filter struct {
	unflagged bool   // the client's flags are to come
	offered   uint32 // of which it may choose
	flags     []byte // those that it has chosen before TLS
	zeroes    bool   // the server sends zeroes that the client does not expect

	unheard bool   // the server's greeting is to come
	refusal []byte // of NBD_OPT_STARTTLS

	waiting []byte // the client's first option, for a server that has not greeted
	pending uint32 // the option that has no answer yet, or 0
	last    bool   // the present reply is the last one to it
	granted bool   // and grants it
	rest    int64  // of the data of the present reply
	padding int64  // of zeroes behind an export that NBD_OPT_EXPORT_NAME has chosen
}

// What a server answers to NBD_OPT_EXPORT_NAME: the size of the export and its flags, and zeroes unless
// NBD_FLAG_NO_ZEROES was agreed upon.
const (
	exportSize = 8 + 2
	zeroesSize = 124
)

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded || s.Backend == dialogue.Introduced {
		return newInside(s.Upgraded)
	}
	f := &filter{unheard: true, flags: s.Kept, refusal: reply(optStartTLS, repErrInvalid, "TLS is active already")}
	switch {
	case s.ImplicitTLS:
		f.unflagged = true
	case s.Cleartext:
		f.refusal = reply(optStartTLS, repErrInvalid, "NBD_OPT_STARTTLS must come first")
	}
	if len(f.flags) != flagsSize {
		f.flags = binary.BigEndian.AppendUint32(nil, fixedNewstyle|noZeroes)
	}
	return f
}

// Start implements dialogue.Filter.
func (f *filter) Start(x *dialogue.Exchange) {
	switch {
	case f.unheard && f.unflagged:
		x.Hold()
	case f.unheard:
		x.Await()
	}
}

// ErrorReply answers the option that waits for it. To a client that waits for none there is nothing to say.
func (f *filter) ErrorReply(why error) []byte {
	return lastReply(f.pending, why)
}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.unflagged && len(b) < flagsSize:
		return 0
	case f.unflagged:
		f.chooses(x, b[:flagsSize])
		return flagsSize
	}
	begin := min(len(b), len(optionMagic))
	if string(b[:begin]) != optionMagic[:begin] {
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	if len(b) < headSize {
		return 0
	}
	o := parseOption(b)
	switch size := headSize + int64(o.size); {
	case o.size > maxData:
		f.pending = o.code
		x.CloseFor(optionError{o.code})
		return len(b)
	case int64(len(b)) < size:
		return 0
	default:
		f.option(x, o, b[:size])
		return int(size)
	}
}

// chooses takes the client's flags.
func (f *filter) chooses(x *dialogue.Exchange, flags []byte) {
	f.unflagged = false
	if !goodFlags(flags, f.offered) {
		x.CloseFor(dialogue.ErrMalformed)
		return
	}
	x.ToBackend(flags)
}

// option takes one of the client's.
func (f *filter) option(x *dialogue.Exchange, o option, all []byte) {
	if o.is(optStartTLS) {
		x.ToClient(f.refusal)
		return
	}
	f.pending = o.code
	if f.unheard {
		f.waiting = bytes.Clone(all)
		x.Hold()
		return
	}
	f.ask(x, all)
}

// ask passes on an option, and has the client wait for the answer. Behind NBD_OPT_EXPORT_NAME there is no
// other option.
func (f *filter) ask(x *dialogue.Exchange, all []byte) {
	x.ToBackend(all)
	switch {
	case f.pending != optExportName:
		x.Hold()
	case f.zeroes:
		x.Hold()
		f.rest, f.padding = exportSize, zeroesSize
	default:
		x.Detach()
	}
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.unheard && len(b) < greetingSize:
		return 0
	case f.unheard:
		f.greeted(x, b[:greetingSize])
		return greetingSize
	case f.rest > 0:
		n := dialogue.CutRest(&f.rest, b)
		x.ToClient(b[:n])
		f.answered(x)
		return n
	case f.padding > 0:
		n := dialogue.CutRest(&f.padding, b)
		if f.padding == 0 {
			x.Detach()
		}
		return n
	case len(b) < replyHeadSize:
		return 0
	}
	r := parseReply(b)
	if !r.valid || f.pending == 0 || r.option != f.pending {
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	if r.kind == repErrTLSReqd {
		x.Refused()
		x.Warn("the backend takes no connection without TLS: put starttls_upstream between, or configure the backend")
	}
	f.rest, f.last, f.granted = int64(r.size), r.isLast(), r.kind == repAck
	x.ToClient(b[:replyHeadSize])
	f.answered(x)
	return replyHeadSize
}

// greeted takes the server's greeting. A client that has chosen its flags already cannot be told of others:
// for one that expects no zeroes, those of a server that cannot leave them out are dropped.
func (f *filter) greeted(x *dialogue.Exchange, hello []byte) {
	offered := uint32(binary.BigEndian.Uint16(hello[16:]))
	if !negotiates(hello) {
		x.CloseFor(dialogue.ErrBackend)
		return
	}
	f.unheard = false
	x.Release()
	if f.unflagged {
		f.offered = offered
		x.ToClient(hello)
	} else {
		chosen := binary.BigEndian.Uint32(f.flags)
		f.zeroes = chosen&noZeroes&^offered != 0
		x.ToBackend(binary.BigEndian.AppendUint32(nil, chosen&offered))
	}
	if f.waiting != nil {
		f.ask(x, f.waiting)
		f.waiting = nil
	}
}

// answered lets the client go on once its option is answered to the end.
func (f *filter) answered(x *dialogue.Exchange) {
	if f.rest > 0 || !f.last {
		return
	}
	if f.pending == optGo && f.granted {
		x.Detach()
		return
	}
	f.pending, f.last = 0, false
	x.Release()
}

// BackendEnded implements dialogue.BackendEnder. A server may end without an answer to NBD_OPT_ABORT.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if f.unheard || f.pending != 0 && f.pending != optAbort && f.rest == 0 {
		x.CloseFor(dialogue.ErrBackend)
	}
}
