// Package xmpp is XMPP between clients and servers, and between servers, for the package
// upgrade: starttls of RFC 6120 section 5.
//
//	C: <stream:stream to='example.org' ...>
//	S: <stream:stream ...><stream:features><starttls .../></stream:features>
//	C: <starttls .../>
//	S: <proceed .../>
//	   TLS; the client begins a new stream, with the backend
package xmpp

import (
	"crypto/rand"
	"encoding/xml"
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is XMPP between clients and servers, which upgrades with a starttls element,
// RFC 6120 section 5. A client cannot stay in plaintext: which mechanisms it could
// authenticate with is known to the backend alone.
var Protocol = &dialogue.Protocol{
	Name:                "xmpp",
	Aliases:             []string{"jabber", "xmpps", "xmpp-client"},
	Port:                5222,
	Facts:               dialogue.Facts{Ports: "5222", Upgrade: "`<starttls/>`", Document: "RFC 6120 section 5"},
	ALPN:                []string{"xmpp-client"},
	MaxLine:             maxXMPPTag,
	BlanksBehindRequest: true, // of go-xmpp and sslscan; white space is a keep-alive (RFC 6120 section 4.6.1)
	AlwaysTLS:           true,

	Match:      clients.match,
	Accept:     clients.accept,
	Request:    clients.request,
	Resume:     (*dialogue.Session).KeepHeard, // for a client that opens a stream to the same domain
	ErrorReply: clients.errorReply,
	Join:       clients.newFilter,

	ImplicitPort: 5223,
	Inquire:      clients.inquire,
	Quit:         xmppBye,
}

// maxXMPPTag bounds a tag, in octets.
const maxXMPPTag = 16 << 10

const (
	xmppStreams = "http://etherx.jabber.org/streams"
	xmppTLS     = "urn:ietf:params:xml:ns:xmpp-tls"
	xmppSASL    = "urn:ietf:params:xml:ns:xmpp-sasl"
	xmppErrors  = "urn:ietf:params:xml:ns:xmpp-streams"

	xmppSASL2    = "urn:xmpp:sasl:2"                     // XEP-0388
	xmppCompress = "http://jabber.org/protocol/compress" // XEP-0138
)

// What is said. openssl s_client takes nothing but these very words for the offer,
// and gnutls-cli waits for the declaration.
const (
	xmppOffer   = "<stream:features><starttls xmlns='" + xmppTLS + "'><required/></starttls></stream:features>"
	xmppAsk     = "<starttls xmlns='" + xmppTLS + "'/>"
	xmppProceed = "<proceed xmlns='" + xmppTLS + "'/>"
	xmppEncrypt = "<failure xmlns='" + xmppSASL + "'><encryption-required/></failure>"
	xmppFailure = "<failure xmlns='" + xmppTLS + "'/>"
	xmppBye     = "</stream:stream>" // RFC 6120 section 4.4
)

// xmppStreamID makes the id of a stream, which nobody may guess (RFC 6120 section
// 4.7.3).
var xmppStreamID = rand.Text

func (d *dialect) accept(s *dialogue.Session) error {
	x := new(xmppStream)
	header, err := d.readHeader(s, x)
	if err != nil {
		return err
	}
	if !xmppModern(header) {
		return errXMPPVersion
	}
	s.SetHello(header.attr("from"))
	s.SetServerName(header.attr("to"))
	err = s.Send([]byte(d.answer(ownName(s), header.attr("from")) + xmppOffer))
	for err == nil {
		t, readErr := xmppNext(s, x)
		switch {
		case readErr != nil:
			return readErr
		case t.kind == xmppEnd:
			return errors.Join(s.Send([]byte(xmppBye)), dialogue.ErrQuit)
		case t.is(xmppTLS, "starttls"):
			return xmppGrant(s, x, t)
		}
		err = d.refuse(s, x, t)
	}
	return err
}

// xmppGrant grants STARTTLS, or ends the stream with its failure (RFC 6120 section 5.4.2.2).
func xmppGrant(s *dialogue.Session, x *xmppStream, t xmppToken) error {
	if err := xmppClose(s, x, t); err != nil {
		return err
	}
	if !s.TLSAvailable() {
		return errors.Join(s.Send([]byte(xmppFailure+xmppBye)), dialogue.ErrQuit)
	}
	return s.SendGoAhead([]byte(xmppProceed))
}

// refuse refuses all but STARTTLS: to authenticate, so that a client may think
// better of it, and everything else for good.
func (d *dialect) refuse(s *dialogue.Session, x *xmppStream, t xmppToken) error {
	switch {
	case t.is(xmppSASL, "auth"):
		if err := xmppSkip(s, x, t); err != nil {
			return err
		}
		return s.RefuseLogin([]byte(xmppEncrypt))
	case d.stanza(t), d.dialback(t):
		return dialogue.ErrPlaintext
	}
	return errXMPPElement
}

// xmppModern reports whether a stream has features, STARTTLS among them: those of
// version 1.0 and later do (RFC 6120 section 4.7.5).
func xmppModern(header xmppToken) bool {
	major, _, _ := strings.Cut(header.attr("version"), ".")
	major = strings.TrimLeft(major, "0")
	return major != "" && strings.Trim(major, "0123456789") == ""
}

// attribute is one of a tag.
func attribute(name, value string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(value))
	return " " + name + "='" + escaped.String() + "'"
}

// errorReply is a stream error, RFC 6120 section 4.9.3, behind a header if the
// client has not had one. Behind starttls it is the failure of that.
func (d *dialect) errorReply(s *dialogue.Session, why error) []byte {
	words := xmppStreamError(why)
	switch {
	case errors.Is(why, dialogue.ErrPipelined):
		return []byte(xmppFailure + xmppBye)
	case words == "":
		return nil
	case !s.Spoken():
		words = d.answer(ownName(s), "") + words
	}
	return []byte(words)
}

// xmppStreamError is the error and the end of the stream; nothing for reasons of which
// clients are not told.
func xmppStreamError(why error) string {
	condition := ""
	switch {
	case errors.Is(why, errXMPPRestricted):
		condition = "restricted-xml"
	case errors.Is(why, errXMPPNamespace):
		condition = "invalid-namespace"
	case errors.Is(why, errXMPPHost):
		condition = "host-unknown"
	case errors.Is(why, errXMPPVersion):
		condition = "unsupported-version"
	case errors.Is(why, errXMPPElement):
		condition = "unsupported-stanza-type"
	case errors.Is(why, errXMPPPolicy), errors.Is(why, dialogue.ErrPlaintext), errors.Is(why, dialogue.ErrLineTooLong), errors.Is(why, dialogue.ErrTooMany):
		condition = "policy-violation"
	case errors.Is(why, dialogue.ErrMalformed):
		condition = "not-well-formed"
	case errors.Is(why, dialogue.ErrTooManyConnections):
		condition = "resource-constraint" // clients try again, unlike after a violation
	case errors.Is(why, dialogue.ErrTimeout):
		condition = "connection-timeout"
	case errors.Is(why, dialogue.ErrShutdown):
		condition = "system-shutdown"
	case errors.Is(why, dialogue.ErrBackend):
		condition = "remote-connection-failed"
	default:
		return ""
	}
	text := dialogue.UnavailableText(why, "")
	if text != "" {
		text = "<text xmlns='" + xmppErrors + "'>" + text + "</text>"
	}
	return "<stream:error><" + condition + " xmlns='" + xmppErrors + "'/>" + text + "</stream:error>" + xmppBye
}

// match knows the stream by its header, whose tag all clients write the same
// way (RFC 6120 section 4.8.5).
func (d *dialect) match(prefix []byte) dialogue.Verdict {
	if len(prefix) > 1 && prefix[1] == '?' {
		size, err := xmppExtent(prefix)
		switch {
		case err != nil || len(prefix) > maxXMPPTag:
			return dialogue.NoMatch
		case size == 0:
			return dialogue.NeedMore
		}
		t, err := new(xmppStream).next(prefix)
		if err != nil || t.kind != xmppDeclaration {
			return dialogue.NoMatch
		}
		prefix = []byte(strings.TrimLeft(string(prefix[size:]), " \t\r\n"))
	}
	const begin = "<stream:stream"
	if v := dialogue.MatchLiteral(prefix, []byte(begin)); v != dialogue.Matched {
		return v
	}
	return d.matchHeader(prefix, len(begin))
}

// matchHeader is for a header of which the name is known.
func (d *dialect) matchHeader(b []byte, name int) dialogue.Verdict {
	if len(b) > name && !xmppBlank(b[name]) || len(b) > maxXMPPTag {
		return dialogue.NoMatch
	}
	size, err := xmppExtent(b)
	switch {
	case err != nil:
		return dialogue.NoMatch
	case size == 0 && d.mayBecomeHeader(b):
		return dialogue.NeedMore
	}
	t, err := new(xmppStream).next(b)
	if err != nil || size == 0 || t.empty || d.checkHeader(t) != nil {
		return dialogue.NoMatch
	}
	return dialogue.Matched
}

// mayBecomeHeader looks at the attributes that are complete.
func (d *dialect) mayBecomeHeader(b []byte) bool {
	end, quote := 0, byte(0)
	for i, c := range b {
		switch {
		case quote == 0 && (c == '"' || c == '\''):
			quote = c
		case quote != 0 && c == quote:
			end, quote = i+1, 0
		}
	}
	if end == 0 {
		return true
	}
	raw, err := xml.NewDecoder(strings.NewReader(string(b[:end]) + ">")).RawToken()
	tag, ok := raw.(xml.StartElement)
	namespaces := d.namespaces()
	for _, a := range tag.Attr {
		want, matters := namespaces[a.Name]
		ok = ok && (!matters || a.Value == want)
	}
	return ok && err == nil
}

func (d *dialect) request(s *dialogue.Session) error {
	if err := s.Send([]byte(d.question(s))); err != nil {
		return err
	}
	x := new(xmppStream)
	header, err := d.readHeader(s, x)
	if err != nil {
		return err
	}
	if !xmppModern(header) {
		return dialogue.ErrNotOffered
	}
	if err := xmppFindOffer(s, x); err != nil {
		return err
	}
	if err := s.Send([]byte(xmppAsk)); err != nil {
		return err
	}
	t, err := xmppNext(s, x)
	switch {
	case err != nil:
		return err
	case t.is(xmppTLS, "proceed") && t.kind == xmppStart:
		return xmppClose(s, x, t)
	}
	return xmppNoConsent(t)
}

// xmppFindOffer reads the features.
func xmppFindOffer(s *dialogue.Session, x *xmppStream) error {
	features, err := xmppNext(s, x)
	if err != nil {
		return err
	}
	if features.kind != xmppStart || !features.is(xmppStreams, "features") {
		return xmppNoConsent(features)
	}
	offered, login := false, false
	for t := features; !features.empty && (t.kind != xmppEnd || t.depth > features.depth); {
		if t, err = xmppRead(s, x); err != nil {
			return err
		}
		if t.kind == xmppStart && t.depth == 2 {
			offered = offered || t.is(xmppTLS, "starttls")
			login = login || t.is(xmppSASL, "mechanisms")
		}
	}
	s.SetPlaintextLogin(login)
	if !offered {
		return dialogue.ErrNotOffered
	}
	return nil
}

// xmppNoConsent says what it means that the server has come up with t.
func xmppNoConsent(t xmppToken) error {
	if t.kind == xmppEnd || t.is(xmppTLS, "failure") || t.is(xmppStreams, "error") {
		return dialogue.ErrRefused
	}
	return dialogue.ErrMalformed
}
