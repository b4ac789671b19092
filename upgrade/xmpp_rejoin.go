package upgrade

const xmppRequired = "the XMPP backend insists on TLS of its own, so that nobody can log in: let it take clients without " +
	"(Prosody: c2s_require_encryption = false; ejabberd: starttls_required: false)"

// maxXMPPNesting bounds how deeply elements are nested inside TLS.
const maxXMPPNesting = 256

// xmppRejoin joins a client inside TLS to a backend, where the client's new stream
// begins. The backend's own offer of starttls is taken out of the features, and a
// client that asks for it nevertheless is refused as RFC 6120 section 5.4.2.2 has it.
// What cannot be parsed ends the stream: the backend might find a starttls in it.
//
// It is out of the way at the first stanza from the backend behind the success of SASL:
// there are servers that offer starttls once more in the features between these two.
// A stanza alone proves nothing, for clients may register before they log in. One that
// logs in with a stanza (XEP-0078) is looked at for the whole session.
type xmppRejoin struct {
	session         *Session
	client, backend xmppStream
	spoke           bool // the backend has
	headed          bool // and the client has a stream from it
	success         bool // the client has logged in
	features        bool // inside them
	offer           int  // depth of starttls in them; 0: not inside it
	warned          bool
}

func newXMPPRejoin(s *Session) Filter {
	deep := xmppStream{maxDepth: maxXMPPNesting}
	return &xmppRejoin{session: s, client: deep, backend: deep}
}

// Start implements Filter.
func (*xmppRejoin) Start(*Exchange) {}

// BackendEnded reports a backend that ended without a word.
func (f *xmppRejoin) BackendEnded(x *Exchange) {
	if !f.spoke {
		x.EndFor(ErrBackend)
	}
}

// FromClient implements Filter.
func (f *xmppRejoin) FromClient(x *Exchange, b []byte) int {
	t, err := xmppBounded(&f.client, b)
	switch {
	case err != nil:
		f.end(x, xmppStreamError(err))
	case t.size == 0:
		return 0
	case t.kind != xmppStart:
		x.ToBackend(b[:t.size])
	case t.depth <= 1 && t.is(xmppTLS, "starttls"):
		f.end(x, xmppFailure+xmppBye)
	case t.depth == 0 && !t.is(xmppStreams, "stream"):
		f.end(x, xmppStreamError(errXMPPNamespace))
	case t.depth == 1 && t.is(xmppCompress, "compress") && !f.success:
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
		return t, ErrLineTooLong
	}
	return t, err
}

// FromBackend implements Filter. A backend that grants what it has not been asked for
// has read the client in another way than we have.
func (f *xmppRejoin) FromBackend(x *Exchange, b []byte) int {
	f.spoke = true
	t, err := xmppBounded(&f.backend, b)
	child := t.kind == xmppStart && t.depth == 1
	compressed := child && t.is(xmppCompress, "compressed")
	switch {
	case err != nil, child && t.is(xmppTLS, "proceed"), compressed && !f.success:
		f.end(x, xmppStreamError(ErrBackend))
		return len(b)
	case t.size == 0:
		return 0
	}
	if f.passes(x, t) {
		x.ToClient(b[:t.size])
	}
	f.headed = f.headed || t.kind == xmppStart
	f.success = f.success || child && (t.is(xmppSASL, "success") || t.is(xmppSASL2, "success"))
	if f.success && (compressed || child && xmppStanza(t)) {
		x.Done()
	}
	return t.size
}

// passes reports whether a token is for the client.
func (f *xmppRejoin) passes(x *Exchange, t xmppToken) bool {
	start, end := t.kind == xmppStart, t.kind == xmppEnd
	switch {
	case t.depth <= 1 && (start || end):
		f.features, f.offer = start && !t.empty && t.is(xmppStreams, "features"), 0
	case f.offer > 0 && end && t.depth == f.offer:
		f.offer = 0
		return false
	case f.offer > 0 && start && t.is(xmppTLS, "required") && !f.warned:
		f.warned = true
		x.Warn(xmppRequired)
	case f.offer == 0 && f.features && start && t.is(xmppTLS, "starttls"):
		if !t.empty {
			f.offer = t.depth
		}
		return false
	}
	return f.offer == 0
}

// end says last words to the client: behind a header if it has none, and not at all
// amid a stanza, where they would be a part of that.
func (f *xmppRejoin) end(x *Exchange, words string) {
	switch {
	case !f.backend.between():
		words = ""
	case !f.headed:
		words = xmppOwnHeader(f.session) + words
	}
	x.End([]byte(words))
}
