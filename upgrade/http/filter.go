package http

import (
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A filter follows a client's requests, and takes upgrades out of them: a backend with an
// upgrade to TLS of its own would grant that. A client in plaintext that may not send its password
// so is refused with 426 when it does. What servers may read in different ways is refused, and
// nothing is looked at in what the backend says.
//
// It never leaves. Behind another upgrade, or CONNECT, the connection might be something else
// than HTTP or not, as the backend decides, so neither gets there.
type filter struct {
	refuseAuth bool

	body   int64                // what is left of the present body
	chunks *dialogue.HTTPChunks // or it is in these
	asked  bool                 // a request has been passed on, and the backend has said nothing since
	spoke  bool                 // the backend has
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil // settle has heard the answer, and nothing else is kept from either side
	}
	return &filter{refuseAuth: s.Cleartext && !s.PlaintextAuth}
}

// Start implements dialogue.Filter.
func (f *filter) Start(*dialogue.Exchange) {}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.body > 0:
		n := dialogue.CutRest(&f.body, b)
		x.ToBackend(b[:n])
		return n
	case f.chunks != nil:
		return f.chunk(x, b)
	case b[0] == '\r' && len(b) == 1:
		return 0
	case b[0] == '\r' && b[1] == '\n':
		return len("\r\n") // behind a body, by old clients (RFC 9112 section 2.2)
	}
	r, size, err := dialogue.CutHTTPRequest(b)
	switch {
	case err != nil:
		x.CloseFor(err)
		return len(b)
	case size > 0 && !f.request(x, r, b[:size]):
		return len(b)
	}
	return size
}

func (f *filter) chunk(x *dialogue.Exchange, b []byte) int {
	n, over, err := f.chunks.Next(b)
	if err != nil {
		x.CloseFor(err)
		return len(b)
	}
	if over {
		f.chunks = nil
	}
	x.ToBackend(b[:n])
	return n
}

// request passes on a request, and reports whether there may be another.
func (f *filter) request(x *dialogue.Exchange, r *dialogue.HTTPRequest, head []byte) bool {
	length, chunked, err := r.Body(r.Minor)
	switch {
	case err != nil:
		x.CloseFor(err)
		return false
	case f.refuseAuth && (hasLogin(r) || r.Method == "CONNECT"):
		if hasLogin(r) {
			x.RefusedLogin()
		}
		x.CloseFor(dialogue.ErrPlaintext)
		return false
	case r.Method == "CONNECT":
		x.CloseFor(dialogue.ErrMalformed)
		return false
	}
	if r.Has("Upgrade") {
		head = inside(r)
	}
	x.ToBackend(head)
	f.asked, f.body = true, length
	if chunked {
		f.chunks = new(dialogue.HTTPChunks)
	}
	return true
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	f.asked, f.spoke = false, true
	x.ToClient(b)
	return len(b)
}

// BackendEnded reports a backend that ended without a word.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if f.asked && !f.spoke {
		x.CloseFor(dialogue.ErrBackend)
	}
}

// ErrorReply words the end of a session, but where the backend may still answer, or is about
// to: there the words would be taken for the answer to another request.
func (f *filter) ErrorReply(why error) []byte {
	if f.spoke && f.asked && !errors.Is(why, dialogue.ErrPlaintext) {
		return nil
	}
	return errorReply(nil, why)
}
