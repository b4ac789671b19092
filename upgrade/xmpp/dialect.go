package xmpp

import (
	"cmp"
	"encoding/xml"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A dialect is what sets streams of clients apart from those between servers.
type dialect struct {
	space    string // the namespace of the stream
	between  bool   // servers: both sides say who they are
	required string // what to tell an administrator whose backend insists on an upgrade of its own
}

var clients = dialect{
	space: "jabber:client",
	required: "the XMPP backend insists on TLS of its own, so that nobody can log in: let it take clients without " +
		"(Prosody: c2s_require_encryption = false; ejabberd: starttls_required: false)",
}

// stanza reports whether an element is a stanza (RFC 6120 section 8).
func (d *dialect) stanza(t xmppToken) bool {
	return t.is(d.space, "iq") || t.is(d.space, "message") || t.is(d.space, "presence")
}

// checkHeader finds what is wrong with the start of a stream.
func (d *dialect) checkHeader(t xmppToken) error {
	if !t.is(xmppStreams, "stream") || t.attr("xmlns") != d.space {
		return errXMPPNamespace
	}
	return nil
}

// namespaces has what a header must declare.
func (d *dialect) namespaces() map[xml.Name]string {
	return map[xml.Name]string{
		{Local: "xmlns"}:                  d.space,
		{Space: "xmlns", Local: "stream"}: xmppStreams,
	}
}

// header begins a stream of ours, with these attributes.
func (d *dialect) header(attributes string) string {
	return "<?xml version='1.0'?><stream:stream" + attributes + " xmlns='" + d.space + "' xmlns:stream='" + xmppStreams + "' version='1.0'>"
}

// answer begins the stream that answers a client's, in the given name.
func (d *dialect) answer(name, to string) string {
	attributes := attribute("from", name)
	if d.between && to != "" {
		attributes += attribute("to", to)
	}
	return d.header(attributes + attribute("id", xmppStreamID()) + " xml:lang='en'")
}

// question begins the stream of a client.
func (d *dialect) question(s *dialogue.Session) string {
	attributes := attribute("to", s.PeerName())
	if d.between {
		attributes += attribute("from", s.Hostname())
	}
	return d.header(attributes)
}

// ownName is that of the host which the client has asked for, or else ours.
func ownName(s *dialogue.Session) string { return cmp.Or(s.ServerName(), s.Hostname()) }
