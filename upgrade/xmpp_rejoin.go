package upgrade

const xmppRequired = "the XMPP backend insists on TLS of its own, so that nobody can log in: let it take clients without " +
	"(Prosody: c2s_require_encryption = false; ejabberd: starttls_required: false)"

// xmppRejoin joins a client inside TLS to a backend, where the client's new stream
// begins. The backend's own offer of starttls is taken out of the features: it may
// come again after authentication, so until the first stanza. A client that asks
// for it nevertheless is refused as RFC 6120 section 5.4.2.2 has it.
type xmppRejoin struct {
	client, backend xmppStream
	blind           bool // the client sends what is not to be understood
	spoke           bool // the backend has
	features        bool // inside them
	offer           bool // inside starttls in them
	warned          bool
}

func newXMPPRejoin(*Session) Filter { return new(xmppRejoin) }

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
	if f.blind {
		x.ToBackend(b)
		return len(b)
	}
	t, err := f.client.next(b)
	switch {
	case err != nil || t.size > maxXMPPTag && t.kind != xmppText || t.size == 0 && len(b) > maxXMPPTag:
		f.blind = true
		return f.FromClient(x, b)
	case t.kind == xmppStart && t.depth == 1 && t.is(xmppTLS, "starttls"):
		x.End([]byte(xmppFailure + xmppBye))
	case t.size > 0:
		x.ToBackend(b[:t.size])
	}
	return t.size
}

// FromBackend implements Filter. What cannot be understood is none of our business.
func (f *xmppRejoin) FromBackend(x *Exchange, b []byte) int {
	f.spoke = true
	t, err := f.backend.next(b)
	switch {
	case err != nil || t.size == 0 && len(b) > maxXMPPTag:
		x.Done()
		return 0
	case t.size == 0:
		return 0
	}
	if f.passes(x, t) {
		x.ToClient(b[:t.size])
	}
	if t.kind == xmppStart && t.depth == 1 && xmppStanza(t) {
		x.Done()
	}
	return t.size
}

// passes tells whether a token is for the client.
func (f *xmppRejoin) passes(x *Exchange, t xmppToken) bool {
	start, end := t.kind == xmppStart, t.kind == xmppEnd
	switch {
	case t.depth <= 1 && (start || end):
		f.features, f.offer = start && !t.empty && t.is(xmppStreams, "features"), false
	case f.features && start && t.depth == 2 && t.is(xmppTLS, "starttls"):
		f.offer = !t.empty
		return false
	case f.offer && end && t.depth == 2:
		f.offer = false
		return false
	case f.offer && start && t.is(xmppTLS, "required") && !f.warned:
		f.warned = true
		x.Warn(xmppRequired)
	}
	return !f.offer
}
