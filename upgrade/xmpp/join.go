package xmpp

import (
	"bytes"
	"encoding/xml"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An openStream is one that we have opened, to a server that turned out not to offer
// starttls. A client can have it if it opens just such a stream: what the server has said
// was for one domain, and a server takes no second header before SASL.
type openStream struct {
	domain string // that we have asked for
	heard  []byte // the server's header and features
}

// join takes what a client begins with. Its own header is not for the backend, which has
// ours.
func (f *filter) join(x *dialogue.Exchange, t xmppToken) {
	switch {
	case t.kind != xmppStart: // a declaration, or white space
	case f.checkHeader(t) != nil || t.empty || !f.declaresLikeUs(t):
		f.end(x, xmppStreamError(errXMPPNamespace))
	case !xmppModern(t):
		f.end(x, xmppStreamError(errXMPPVersion))
	case !sameDomain(t.attr("to"), f.open.domain):
		f.end(x, xmppStreamError(errXMPPHost))
	default:
		heard := f.open.heard
		f.open = nil
		for n := 1; len(heard) > 0 && n > 0 && !x.Closed(); heard = heard[n:] {
			n = f.fromBackend(x, heard)
		}
	}
}

// early is for what a backend says before the client has opened the stream: white space
// keeps a connection alive (RFC 6120 section 4.6.1), all else can only be an end.
func (f *filter) early(x *dialogue.Exchange, b []byte) int {
	if len(bytes.TrimLeft(b, " \t\r\n")) > 0 {
		f.end(x, xmppStreamError(dialogue.ErrBackend))
	}
	return len(b)
}

// declaresLikeUs reports whether a client's header declares no other prefixes than ours: the
// backend would not know them.
func (d *dialect) declaresLikeUs(header xmppToken) bool {
	namespaces := d.namespaces()
	for _, a := range header.attrs {
		known, ok := namespaces[a.Name]
		switch {
		case ok && a.Value != known:
			return false
		case !ok && a.Name.Space == "xmlns" && a.Name.Local != "xml":
			return false
		}
	}
	return header.declares("stream")
}

// declares reports whether a header binds a prefix.
func (t *xmppToken) declares(prefix string) bool {
	for _, a := range t.attrs {
		if a.Name == (xml.Name{Space: "xmlns", Local: prefix}) {
			return true
		}
	}
	return false
}

// sameDomain compares domains as DNS does.
func sameDomain(a, b string) bool {
	return a != "" && dialogue.EqualASCII(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
