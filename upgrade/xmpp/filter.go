package xmpp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// maxXMPPNesting bounds how deeply elements are nested inside TLS.
const maxXMPPNesting = 256

// A filter joins a client inside TLS to a backend, where the client's new stream
// begins. The backend's own offer of starttls is taken out of the features, and a
// client that asks for it nevertheless is refused as RFC 6120 section 5.4.2.2 has it.
// What cannot be parsed ends the stream: the backend might find a starttls in it.
//
// It is out of the way at the first stanza from the backend behind the success of SASL:
// there are servers that offer starttls once more in the features between these two.
// A stanza alone proves nothing, for clients may register before they log in. One that
// logs in with a stanza (XEP-0078) is looked at for the whole session, and so is a server:
// there are backends that upgrade with it at any time.
type filter struct {
	*dialect
	hostname        string // ours
	client, backend xmppStream
	spoke           bool // the backend has
	headed          bool // and the client has a stream from it
	success         bool // the client has logged in
	features        bool // inside them
	offer           int  // depth of starttls in them; 0: not inside it
	warned          bool

	open *openStream // which the client has yet to join, or nil
}

func (d *dialect) newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil
	}
	deep := xmppStream{maxDepth: maxXMPPNesting}
	f := &filter{dialect: d, hostname: s.Options.Hostname, client: deep, backend: deep}
	if s.Backend == dialogue.Introduced {
		f.open = &openStream{domain: s.Options.PeerName, heard: s.Kept}
	}
	return f
}

// Start implements Filter.
func (*filter) Start(*dialogue.Exchange) {}

// BackendEnded reports a backend that ended without a word.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if !f.spoke {
		x.CloseFor(dialogue.ErrBackend)
	}
}

// FromClient implements Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	t, err := xmppBounded(&f.client, b)
	switch {
	case err != nil:
		f.end(x, xmppStreamError(err))
	case t.size == 0:
		return 0
	case f.open != nil:
		f.join(x, t)
	case t.kind != xmppStart:
		x.ToBackend(b[:t.size])
	case t.depth <= 1 && t.is(xmppTLS, "starttls"):
		f.end(x, xmppFailure+xmppBye)
	case t.child() && f.login(t):
		f.end(x, xmppNoLogin+xmppBye)
	case t.depth == 0 && !t.is(xmppStreams, "stream"):
		f.end(x, xmppStreamError(errXMPPNamespace))
	case t.child() && t.is(xmppCompress, "compress") && !f.success:
		f.end(x, xmppStreamError(errXMPPPolicy)) // nothing could be found in it any more
	default:
		x.ToBackend(b[:t.size])
	}
	return t.size
}

// xmppBounded reads a token, and only text may be long.
func xmppBounded(stream *xmppStream, b []byte) (xmppToken, error) {
	t, err := stream.next(b)
	if err == nil && (t.size == 0 && len(b) > maxXMPPTag || t.size > maxXMPPTag && t.kind != xmppText) {
		return t, dialogue.ErrLineTooLong
	}
	return t, err
}

// FromBackend implements Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	if f.open != nil {
		return f.early(x, b)
	}
	return f.fromBackend(x, b)
}

func (f *filter) fromBackend(x *dialogue.Exchange, b []byte) int {
	f.spoke = true
	t, err := xmppBounded(&f.backend, b)
	switch {
	case err != nil || f.unasked(t):
		f.end(x, xmppStreamError(dialogue.ErrBackend))
		return len(b)
	case t.size == 0:
		return 0
	}
	if f.passes(x, t) {
		x.ToClient(b[:t.size])
	}
	f.headed = f.headed || t.kind == xmppStart
	if f.settles(t) {
		x.Detach()
	}
	return t.size
}

// child reports whether an element begins that belongs to the stream directly.
func (t *xmppToken) child() bool { return t.kind == xmppStart && t.depth == 1 }

// unasked reports whether the backend grants what it has not been asked for: then it
// has read the client in another way than we have.
func (f *filter) unasked(t xmppToken) bool {
	return t.child() && (t.is(xmppTLS, "proceed") || t.is(xmppCompress, "compressed") && !f.success ||
		f.between && (t.is(xmppSASL, "success") || t.is(xmppSASL2, "success")))
}

// settles reports whether a token is the last that matters: behind the login, a stanza,
// or that what follows is compressed.
func (f *filter) settles(t xmppToken) bool {
	if !t.child() {
		return false
	}
	f.success = f.success || t.is(xmppSASL, "success") || t.is(xmppSASL2, "success")
	return f.success && (f.stanza(t) || t.is(xmppCompress, "compressed"))
}

// passes reports whether a token is for the client.
func (f *filter) passes(x *dialogue.Exchange, t xmppToken) bool {
	start := t.kind == xmppStart
	switch {
	case !start && t.kind != xmppEnd: // as what is around it
	case t.depth <= 1:
		f.features, f.offer = start && !t.empty && t.is(xmppStreams, "features"), 0
	case f.offer > 0:
		f.inOffer(x, t)
		return false
	case f.features && start && f.hides(t):
		if !t.empty {
			f.offer = t.depth
		}
		if f.offersLogin(t) {
			f.warn(x, trusting)
		}
		return false
	}
	return f.offer == 0
}

// inOffer looks for the end of the offer, and whether the backend insists.
func (f *filter) inOffer(x *dialogue.Exchange, t xmppToken) {
	switch {
	case t.kind == xmppEnd && t.depth == f.offer:
		f.offer = 0
	case t.kind == xmppStart && t.is(xmppTLS, "required"):
		f.warn(x, f.required)
	}
}

// warn tells the administrator once.
func (f *filter) warn(x *dialogue.Exchange, message string) {
	if !f.warned {
		f.warned = true
		x.Warn(message)
	}
}

// end says last words to the client: behind a header if it has none, and not at all
// amid a stanza, where they would be a part of that.
func (f *filter) end(x *dialogue.Exchange, words string) {
	switch {
	case !f.backend.between():
		words = ""
	case !f.headed:
		words = f.answer(f.hostname, "") + words
	}
	x.Close([]byte(words))
}
