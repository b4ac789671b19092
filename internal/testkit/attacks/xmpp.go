package attacks

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

const (
	xmppHeader = "<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	xmppTLS    = "urn:ietf:params:xml:ns:xmpp-tls"
	startTLS   = "<starttls xmlns='" + xmppTLS + "'/>"
	xmppLogin  = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA</auth>"
)

// wideStartTLS is a stream with starttls in UTF-16, behind a mark.
func wideStartTLS(mark string, little bool) string {
	out := mark
	for _, u := range utf16.Encode([]rune(xmppHeader + startTLS)) {
		if little {
			out += string([]byte{byte(u), byte(u >> 8)})
			continue
		}
		out += string([]byte{byte(u >> 8), byte(u)})
	}
	return out
}

func xmppRows() []Row {
	var rows []Row
	add := adder(&rows)
	for name, tag := range map[string]string{
		"empty": startTLS, "two tags": "<starttls xmlns='" + xmppTLS + "'></starttls>", "double quotes": `<starttls xmlns="` + xmppTLS + `"/>`,
		"blanks":        "<starttls\n\txmlns = '" + xmppTLS + "'\r\n/>",
		"a prefix":      "<a:starttls xmlns:a='" + xmppTLS + "'/>",
		"attributes":    "<starttls a='>' b=\"/>\" xmlns='" + xmppTLS + "' c='<'/>",
		"references":    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tl&#115;'/>",
		"hexadecimal":   "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tl&#x73;'/>",
		"with children": "<starttls xmlns='" + xmppTLS + "'><required/></starttls>",
		"long":          "<starttls a='" + strings.Repeat("x", 17000) + "' xmlns='" + xmppTLS + "'/>",
		"very long":     "<starttls a='" + strings.Repeat("x", 70000) + "' xmlns='" + xmppTLS + "'/>",
		"behind blanks": strings.Repeat(" ", 70000) + startTLS,
	} {
		add("as it is", name, 0, xmppHeader, tag)
	}
	add("namespace of the stream", "a prefix", 0, strings.Replace(xmppHeader, "to=", "xmlns:a='"+xmppTLS+"' to=", 1), "<a:starttls/>")
	add("namespace of the stream", "the default", 0, strings.Replace(xmppHeader, "jabber:client", xmppTLS, 1), "<starttls/>")
	for name, odd := range xmppOddities() {
		add("what is hard to parse", name, 0, xmppHeader, odd, startTLS)
		add("what is hard to parse", "twice "+name, 0, xmppHeader, odd+odd, startTLS)
	}
	for _, depth := range []int{6, 7, 8, 9, 20, 300} {
		deep := strings.Repeat("<a>", depth) + strings.Repeat("</a>", depth)
		add("nesting", fmt.Sprint(depth), 0, xmppHeader, deep, startTLS)
	}
	for name, text := range map[string]string{
		"little endian": wideStartTLS("\xff\xfe", true), "big endian": wideStartTLS("\xfe\xff", false),
		"little endian without a mark": wideStartTLS("", true), "big endian without a mark": wideStartTLS("", false),
	} {
		add("UTF-16", name, 0, text)
	}
	add("UTF-8 with a mark", "BOM", 0, "\xef\xbb\xbf"+xmppHeader, startTLS)
	second := strings.TrimPrefix(xmppHeader, "<?xml version='1.0'?>")
	add("second stream", "inside", 0, xmppHeader, second, "</stream:stream>", startTLS)
	add("second stream", "inside, empty", 0, xmppHeader, strings.Replace(second, ">", "/>", 1), startTLS)
	add("second stream", "with a declaration", 0, xmppHeader, xmppHeader, "</stream:stream>", startTLS)
	add("second stream", "of another kind", 0, xmppHeader, "<stream:stream xmlns:stream='a'>", "</stream:stream>", startTLS)
	add("login refused", "before", lenient.RefuseLogin, xmppHeader, xmppLogin, startTLS)
	add("login refused", "and a new stream", lenient.RefuseLogin, xmppHeader, xmppLogin, xmppHeader, "</stream:stream>", startTLS)
	for _, stanza := range []string{"<iq type='get' id='1'/>", "<presence/>", "<message/>"} {
		add("stanza before the login", stanza, lenient.EarlyStanza, xmppHeader, stanza, startTLS)
	}
	return rows
}

// xmppOddities are well-formed, or taken for it by somebody, and have no meaning.
func xmppOddities() map[string]string {
	return map[string]string{
		"CDATA":                     "<presence><![CDATA[x]]></presence>",
		"CDATA with tags":           "<presence><![CDATA[</presence><a>]]></presence>",
		"CDATA with starttls":       "<presence><![CDATA[" + startTLS + "]]></presence>",
		"comment":                   "<!-- x -->",
		"comment with a tag":        "<!-- <a> -->",
		"comment in an element":     "<presence><!-- </presence> --></presence>",
		"instruction":               "<?a b?>",
		"instruction with a tag":    "<?a <a>?>",
		"a second declaration":      "<?xml version='1.0'?>",
		"DOCTYPE":                   "<!DOCTYPE a>",
		"entity":                    "<presence>&a;</presence>",
		"references":                "<presence>&lt;a>&#60;&#x3e;</presence>",
		"> in text":                 "<presence>></presence>",
		"]]> in text":               "<presence>]]></presence>",
		"< in an attribute":         "<presence a='<a>'/>",
		"> in an attribute":         "<presence a='/>'/>",
		"quotes in text":            "<presence>'\"</presence>",
		"no quotes":                 "<presence a=b/>",
		"an attribute twice":        "<presence a='1' a='2'/>",
		"an attribute without":      "<presence a/>",
		"a prefix that is unknown":  "<b:presence/>",
		"an attribute's prefix":     "<presence b:a='1'/>",
		"an end tag too many":       "<a></a></b>",
		"an end tag with blanks":    "<a></a >",
		"names that do not match":   "<a></b>",
		"names beyond ASCII":        "<\u00e4 \u00f6='\u00fc'/>",
		"names with a dot":          "<a.b-c_d/>",
		"not UTF-8":                 "<presence>\xff\xfe</presence>",
		"NUL":                       "<presence>\x00</presence>",
		"a control character":       "<presence>\x01</presence>",
		"a control character first": "\x01",
		"many attributes":           "<presence " + strings.Repeat("a", 100) + "='1'" + manyAttributes(400) + "/>",
		"a long attribute":          "<presence a='" + strings.Repeat("x", 17000) + "'/>",
		"a very long attribute":     "<presence a='" + strings.Repeat("x", 70000) + "'/>",
		"long text":                 "<presence>" + strings.Repeat("x", 70000) + "</presence>",
		"many elements":             strings.Repeat("<a/>", 2000),
		"many namespaces":           "<presence " + strings.ReplaceAll(manyAttributes(300), " a", " xmlns:a") + "/>",
		"no namespace":              "<presence xmlns=''/>",
		"xml as a prefix":           "<xml:presence/>",
	}
}

func manyAttributes(n int) string {
	all := ""
	for i := range n {
		all += fmt.Sprintf(" a%d='x'", i)
	}
	return all
}
