package xmpp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// Server is XMPP between servers, which upgrades as between clients and servers. A server
// that connects cannot stay in plaintext: its key for dialback belongs to the id of the
// stream that we have begun, which the backend does not know.
//
// Inside TLS the servers authenticate by dialback (XEP-0220). With SASL EXTERNAL they would do
// so by a certificate that a backend in plaintext does not see: whatever it offers, it offers
// to our address. Where TLS is passed through, or an upstream has been upgraded with a
// client certificate, EXTERNAL passes as all else does.
var Server = &dialogue.Protocol{
	Name:                "xmpp-server",
	Aliases:             []string{"s2s", "xmpp-s2s", "xmpps-server", "jabber-server"},
	Port:                5269,
	Facts:               dialogue.Facts{Ports: "5269", Upgrade: "`<starttls/>`", Document: "RFC 6120 section 5"},
	ALPN:                []string{"xmpp-server"},
	MaxLine:             maxXMPPTag,
	BlanksBehindRequest: true, // as in xmpp
	Introduces:          true,
	AlwaysTLS:           true,

	Match:      servers.match,
	Accept:     servers.accept,
	Request:    servers.request,
	ErrorReply: servers.errorReply,
	Join:       servers.newFilter,

	ImplicitPort: 5270,
	Inquire:      servers.inquire,
	Quit:         xmppBye,
}

const (
	xmppDialback   = "jabber:server:dialback"                                           // XEP-0220
	xmppCompressed = "http://jabber.org/features/compress"                              // XEP-0138, in features
	xmppNoLogin    = "<failure xmlns='" + xmppSASL + "'><invalid-mechanism/></failure>" // RFC 6120 section 6.5.7
)

var servers = dialect{
	space: "jabber:server", between: true,
	required: "the XMPP backend insists on TLS of its own, so that no server gets in: let it take servers without " +
		"(Prosody: s2s_require_encryption = false; ejabberd: s2s_use_starttls: false)",
}

// trusting is what to tell an administrator whose backend lets servers log in by our address.
const trusting = "the XMPP backend offers SASL to servers, of which it sees the proxy's address and no certificate: " +
	"let it offer dialback alone"

// dialback reports whether an element belongs to the login of servers.
func (d *dialect) dialback(t xmppToken) bool { return d.between && t.name.Space == xmppDialback }

// login reports whether an element begins a login that could only be one by our address.
func (d *dialect) login(t xmppToken) bool {
	return d.between && (t.is(xmppSASL, "auth") || t.is(xmppSASL2, "authenticate"))
}

// offersLogin reports whether an element of the features offers such a login.
func (d *dialect) offersLogin(t xmppToken) bool {
	return d.between && (t.is(xmppSASL, "mechanisms") || t.is(xmppSASL2, "authentication"))
}

// hides reports whether an element of the features is not for the client.
func (d *dialect) hides(t xmppToken) bool {
	return t.is(xmppTLS, "starttls") || d.offersLogin(t) || d.between && t.is(xmppCompressed, "compression")
}
