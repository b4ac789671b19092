package lenient

import (
	"fmt"
	"unicode/utf8"
)

// xmpp is a server of XMPP. It upgrades until the client has logged in, and takes
// whatever XML there is. One for other servers upgrades at any time, and lets them log in by
// their address.
type xmpp struct {
	session
	stanzas string // their namespace
	servers bool   // clients are servers
	wide    int    // of UTF-16: 0 unknown, 1 no, 2 big endian, 3 little endian
	raw     []byte
	stack   []xmlElement
}

const (
	xmppTLS   = "urn:ietf:params:xml:ns:xmpp-tls"
	xmppSASL  = "urn:ietf:params:xml:ns:xmpp-sasl"
	xmppSASL2 = "urn:xmpp:sasl:2"
	xmppAuth  = "jabber:iq:auth"

	xmppDialback = "jabber:server:dialback"
)

// Greeting implements Backend.
func (*xmpp) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *xmpp) Feed(p []byte) []byte { return b.run(b.decode(p), b.step) }

// decode makes UTF-8 of a stream in UTF-16, as parsers do that find out by
// themselves.
func (b *xmpp) decode(p []byte) []byte {
	b.raw = append(b.raw, p...)
	if b.wide == 0 && len(b.raw) >= 2 {
		switch string(b.raw[:2]) {
		case "\xfe\xff", "\x00<":
			b.wide = 2
		case "\xff\xfe", "<\x00":
			b.wide = 3
		default:
			b.wide = 1
		}
	}
	p = nil
	switch b.wide {
	case 0:
	case 1:
		p, b.raw = b.raw, nil
	default:
		for ; len(b.raw) >= 2; b.raw = b.raw[2:] {
			high, low := b.raw[b.wide-2], b.raw[3-b.wide]
			if r := rune(high)<<8 | rune(low); r != 0xfeff {
				p = utf8.AppendRune(p, r)
			}
		}
	}
	return p
}

func (b *xmpp) step() bool {
	size := xmlExtent(b.buf)
	if size == 0 {
		return false
	}
	token := b.buf[:size]
	b.buf = b.buf[size:]
	switch {
	case token[0] != '<' || token[1] == '?' || token[1] == '!':
	case token[1] == '/':
		if len(b.stack) > 0 {
			e := b.stack[len(b.stack)-1]
			b.stack = b.stack[:len(b.stack)-1]
			b.end(e, len(b.stack))
		}
	default:
		e := parseElement(token)
		b.stack = append(b.stack, e)
		e.space = b.space(e.prefix)
		b.stack[len(b.stack)-1] = e
		b.start(e, len(b.stack)-1, token)
		if e.empty {
			b.stack = b.stack[:len(b.stack)-1]
			b.end(e, len(b.stack))
		}
	}
	return true
}

// space is the namespace that a prefix stands for.
func (b *xmpp) space(prefix string) string {
	name := "xmlns"
	if prefix != "" {
		name = "xmlns:" + prefix
	}
	for i := len(b.stack) - 1; i >= 0; i-- {
		if space, ok := b.stack[i].attrs[name]; ok {
			return space
		}
	}
	return ""
}

func (b *xmpp) start(e xmlElement, depth int, token []byte) {
	switch {
	case depth == 0:
		b.header()
	case b.servers && e.local == "stream":
		b.header() // of one that begins anew
	case depth == 1 && e.is(xmppTLS, "starttls") && (b.servers || !b.loggedIn):
		b.forbid("starttls", token)
		b.write("<proceed xmlns='%s'/>", xmppTLS)
	case depth == 1 && b.servers && (e.is(xmppSASL, "auth") || e.is(xmppSASL2, "authenticate")):
		b.forbid("auth", token)
	case depth == 1 && (e.is(xmppSASL, "auth") || e.is(xmppSASL2, "authenticate")):
		b.forbidPassword("auth", token)
	case e.is(xmppAuth, "password"):
		b.forbidPassword("password", token)
	}
}

// end answers what is complete.
func (b *xmpp) end(e xmlElement, depth int) {
	switch {
	case depth == 0:
		b.write("</stream:stream>")
		b.closed = true
	case depth > 1:
	case e.is(xmppSASL, "auth") || e.is(xmppSASL2, "authenticate"):
		b.login(e.space)
	case e.is(xmppDialback, "result"):
		b.write("<db:result from='backend' to='%s' type='valid'/>", e.attrs["from"])
	case (e.local == "iq" || e.local == "presence" || e.local == "message") && (b.loggedIn || b.servers || b.has(EarlyStanza)):
		b.write("<iq type='result' id='1'/>")
	}
}

func (b *xmpp) login(space string) {
	if b.has(RefuseLogin) {
		b.write("<failure xmlns='%s'><not-authorized/></failure>", space)
		return
	}
	b.loggedIn, b.stack = true, nil // a new stream follows
	b.write("<success xmlns='%s'/>", space)
}

func (b *xmpp) header() {
	dialback := ""
	if b.servers {
		dialback = " xmlns:db='" + xmppDialback + "'"
	}
	b.write("<?xml version='1.0'?><stream:stream xmlns='%s' xmlns:stream='http://etherx.jabber.org/streams'"+
		" id='1' from='backend' version='1.0'%s><stream:features>", b.stanzas, dialback)
	switch {
	case b.loggedIn:
		b.write("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>")
	case !b.has(Bare):
		b.write("<starttls xmlns='%s'/>", xmppTLS)
	}
	switch {
	case b.servers && !b.has(Bare):
		b.write("<mechanisms xmlns='%s'><mechanism>EXTERNAL</mechanism></mechanisms>", xmppSASL)
	case !b.servers && !b.loggedIn:
		b.write("<mechanisms xmlns='%s'><mechanism>PLAIN</mechanism></mechanisms>", xmppSASL)
	}
	b.write("</stream:features>")
}

func (b *xmpp) write(format string, args ...any) { b.out = fmt.Appendf(b.out, format, args...) }
