package nbd

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An inside filter joins a client in plaintext to a server that request has asked for TLS. The server has
// had flags already, and the client, which has been greeted with what request has chosen of, can choose
// nothing else. It refuses NBD_OPT_STARTTLS, in the words of a server without TLS. Whatever it does not
// understand is the server's business: the filter leaves.
type inside struct{ filter }

// newInside makes one. heard means that the server's own greeting is not heard again.
func newInside(heard bool) *inside {
	return &inside{filter{unflagged: true, unheard: !heard, refusal: reply(optStartTLS, repErrPolicy, "TLS is not available here")}}
}

// Start implements dialogue.Filter.
func (f *inside) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter.
func (f *inside) FromClient(x *dialogue.Exchange, b []byte) int {
	if f.unflagged {
		return f.chooses(x, b)
	}
	begin := min(len(b), len(optionMagic))
	if string(b[:begin]) != optionMagic[:begin] || len(b) >= headSize && parseOption(b).size > maxData {
		x.Detach()
		return 0
	}
	return f.filter.FromClient(x, b)
}

// chooses takes the client's flags, which are not for the server.
func (f *inside) chooses(x *dialogue.Exchange, b []byte) int {
	begin := min(len(b), flagsSize)
	flags := append(bytes.Clone(b[:begin]), make([]byte, flagsSize-begin)...)
	switch {
	case !goodFlags(flags, fixedNewstyle):
		x.Detach()
		return 0
	case begin < flagsSize:
		return 0
	}
	f.unflagged = false
	return flagsSize
}

// FromBackend implements dialogue.Filter.
func (f *inside) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.unheard && len(b) < greetingSize:
		return 0
	case f.unheard:
		f.unheard = false
		x.ToClient(greeting(fixedNewstyle))
		return greetingSize
	case f.rest > 0:
		return f.filter.FromBackend(x, b)
	case f.pending == 0:
		x.Detach()
		return 0
	case len(b) < replyHeadSize:
		return 0
	}
	if r := parseReply(b); !r.valid || r.option != f.pending {
		x.Detach()
		return 0
	}
	return f.filter.FromBackend(x, b)
}
