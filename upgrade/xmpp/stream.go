package xmpp

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// What is wrong with a stream, beyond ErrMalformed, for the error reply to name.
var (
	errXMPPRestricted = fmt.Errorf("%w: comment, DTD or processing instruction", dialogue.ErrMalformed)
	errXMPPNamespace  = fmt.Errorf("%w: not a stream of the namespace", dialogue.ErrMalformed)
	errXMPPHost       = fmt.Errorf("%w: not a domain of the server's", dialogue.ErrMalformed)
	errXMPPVersion    = fmt.Errorf("%w: version below 1.0", dialogue.ErrMalformed)
	errXMPPElement    = fmt.Errorf("%w: unknown element", dialogue.ErrMalformed)
	errXMPPPolicy     = fmt.Errorf("%w: more than is allowed", dialogue.ErrMalformed)
)

const (
	maxXMPPDepth = 8        // of elements, before TLS
	maxXMPPOpen  = 64 << 10 // octets of the names and namespaces of the elements that are open
)

type xmppKind int

const (
	xmppText xmppKind = iota
	xmppDeclaration
	xmppStart
	xmppEnd
)

// An xmppToken is a tag, or text between two. Text comes in parts as it arrives.
type xmppToken struct {
	kind  xmppKind
	size  int      // in octets; 0: more must arrive
	name  xml.Name // with the namespace in place of the prefix
	attrs []xml.Attr
	depth int  // how many elements this one is in, from the innermost stream on: that has 0
	empty bool // <name/>
	blank bool // the text is white space
}

func (t *xmppToken) is(space, local string) bool {
	return t.name == xml.Name{Space: space, Local: local}
}

// attr returns an attribute that has no prefix.
func (t *xmppToken) attr(local string) string {
	for _, a := range t.attrs {
		if a.Name == (xml.Name{Local: local}) {
			return a.Value
		}
	}
	return ""
}

// An xmppStream is one direction of a stream. It keeps the elements that are open.
//
// A stream begins anew within the old one, as after SASL, and only the server knows
// when it takes a header for that. So the old one stays open here, and depths are those
// within the innermost: an element that belongs to a stream directly has depth 1 both
// if the server has begun anew and if it has not.
type xmppStream struct {
	maxDepth int // 0: maxXMPPDepth

	open   []xmppElement
	scan   xmppScan
	octets int  // of what is open
	cdata  bool // amid a CDATA section
	over   bool // the outermost element has ended
}

type xmppElement struct {
	tag    xml.Name // with the prefix
	name   xml.Name
	spaces []xml.Attr // the namespaces that it declares
	depth  int
	octets int
}

// next reads the token that b begins with. Where a tag ends is found before it is
// looked at, so that not an octet behind it plays a part. XML is restricted as in
// RFC 6120 section 11.1.
func (x *xmppStream) next(b []byte) (xmppToken, error) {
	if x.cdata {
		size, ends := xmppCDATAExtent(b)
		x.cdata = !ends
		return xmppToken{kind: xmppText, size: size, depth: x.depth()}, nil
	}
	size, err := x.scan.extent(b)
	if err != nil || size == 0 {
		return xmppToken{}, err
	}
	x.scan = xmppScan{}
	if b[0] != '<' || b[1] == '!' {
		return x.text(b[:size])
	}
	d := xml.NewDecoder(bytes.NewReader(b[:size]))
	raw, err := d.RawToken()
	if err != nil || d.InputOffset() != int64(size) {
		return xmppToken{}, dialogue.ErrMalformed
	}
	switch tag := raw.(type) {
	case xml.ProcInst:
		if !x.between() {
			return xmppToken{}, errXMPPRestricted
		}
		return xmppToken{kind: xmppDeclaration, size: size, depth: x.depth()}, nil
	case xml.StartElement:
		return x.start(tag, size, b[size-2] == '/')
	case xml.EndElement:
		return x.end(tag, size)
	}
	return xmppToken{}, dialogue.ErrMalformed
}

// depth is that of what comes next, if it is no stream.
func (x *xmppStream) depth() int {
	if len(x.open) == 0 {
		return 0
	}
	return x.open[len(x.open)-1].depth + 1
}

// between reports whether what comes next is in no element but a stream.
func (x *xmppStream) between() bool { return x.depth() <= 1 && !x.cdata }

// text is white space alone outside the outermost element.
func (x *xmppStream) text(p []byte) (xmppToken, error) {
	blank := len(bytes.TrimLeft(p, " \t\r\n")) == 0
	if !blank && len(x.open) == 0 {
		return xmppToken{}, dialogue.ErrMalformed
	}
	x.cdata = p[0] == '<'
	return xmppToken{kind: xmppText, size: len(p), depth: x.depth(), blank: blank}, nil
}

func (x *xmppStream) start(tag xml.StartElement, size int, empty bool) (xmppToken, error) {
	seen := make(map[xml.Name]bool, len(tag.Attr))
	for _, a := range tag.Attr {
		if seen[a.Name] {
			return xmppToken{}, dialogue.ErrMalformed
		}
		seen[a.Name] = true
	}
	e := newXMPPElement(tag)
	ok := false
	if e.name, ok = x.resolve(&e); !ok || x.over {
		return xmppToken{}, dialogue.ErrMalformed
	}
	if len(x.open) >= cmp.Or(x.maxDepth, maxXMPPDepth) || x.octets+e.octets > maxXMPPOpen {
		return xmppToken{}, errXMPPPolicy
	}
	if e.name != (xml.Name{Space: xmppStreams, Local: "stream"}) {
		e.depth = x.depth()
	}
	if !empty {
		x.open, x.octets = append(x.open, e), x.octets+e.octets
	}
	x.over = empty && len(x.open) == 0
	return xmppToken{kind: xmppStart, size: size, name: e.name, attrs: tag.Attr, depth: e.depth, empty: empty}, nil
}

// newXMPPElement keeps of a tag what is needed until the element ends.
func newXMPPElement(tag xml.StartElement) xmppElement {
	e := xmppElement{tag: tag.Name, octets: len(tag.Name.Space) + len(tag.Name.Local)}
	for _, a := range tag.Attr {
		if a.Name.Space == "xmlns" || a.Name == (xml.Name{Local: "xmlns"}) {
			e.spaces = append(e.spaces, a)
			e.octets += len(a.Name.Local) + len(a.Value)
		}
	}
	return e
}

func (x *xmppStream) end(tag xml.EndElement, size int) (xmppToken, error) {
	last := len(x.open) - 1
	if last < 0 || x.open[last].tag != tag.Name {
		return xmppToken{}, dialogue.ErrMalformed
	}
	e := x.open[last]
	x.open, x.octets, x.over = x.open[:last], x.octets-e.octets, last == 0
	return xmppToken{kind: xmppEnd, size: size, name: e.name, depth: e.depth}, nil
}

// resolve finds the namespace that belongs to an element's prefix. One that is not
// declared has none, unless it is no prefix.
func (x *xmppStream) resolve(e *xmppElement) (name xml.Name, ok bool) {
	declaration := xml.Name{Local: "xmlns"}
	if e.tag.Space != "" {
		declaration = xml.Name{Space: "xmlns", Local: e.tag.Space}
	}
	space, found := e.declares(declaration)
	for i := len(x.open) - 1; i >= 0 && !found; i-- {
		space, found = x.open[i].declares(declaration)
	}
	if e.tag.Space == "xml" { // bound without a declaration
		space = "http://www.w3.org/XML/1998/namespace"
	}
	return xml.Name{Space: space, Local: e.tag.Local}, space != "" || e.tag.Space == ""
}

func (e *xmppElement) declares(name xml.Name) (space string, ok bool) {
	for _, a := range e.spaces {
		if a.Name == name {
			return a.Value, true
		}
	}
	return "", false
}

// xmppExtent returns the size of the token that b begins with, 0 if more of it
// must arrive.
func xmppExtent(b []byte) (int, error) { return new(xmppScan).extent(b) }

// An xmppScan is how far a tag has been looked at of which not all has arrived.
type xmppScan struct {
	seen  int
	quote byte // that is open there
}

func (x *xmppScan) extent(b []byte) (int, error) {
	switch {
	case len(b) > 0 && b[0] != '<':
		if end := bytes.IndexByte(b, '<'); end >= 0 {
			return end, nil
		}
		return len(b), nil
	case len(b) < 2:
		return 0, nil
	case b[1] == '?':
		return xmppDeclarationExtent(b)
	case b[1] == '!':
		return xmppCDATABegin(b)
	}
	return x.tagExtent(b)
}

// tagExtent goes on where it stopped when less of the tag had arrived: a client may
// send it octet by octet.
func (x *xmppScan) tagExtent(b []byte) (int, error) {
	for x.seen = max(x.seen, 1); x.seen < len(b); x.seen++ {
		switch c := b[x.seen]; {
		case c == '<', c < ' ' && !xmppBlank(c):
			return 0, dialogue.ErrMalformed
		case x.quote != 0:
			if c == x.quote {
				x.quote = 0
			}
		case c == '"' || c == '\'':
			x.quote = c
		case c == '>':
			return x.seen + 1, nil
		}
	}
	return 0, nil
}

// xmppDeclarationExtent lets only the XML declaration pass.
func xmppDeclarationExtent(b []byte) (int, error) {
	const begin = "<?xml"
	if dialogue.MatchLiteral(b, []byte(begin)) == dialogue.NoMatch || len(b) > len(begin) && !xmppBlank(b[len(begin)]) {
		return 0, errXMPPRestricted
	}
	if end := bytes.Index(b, []byte("?>")); end >= 0 {
		return end + 2, nil
	}
	return 0, nil
}

// xmppCDATABegin lets only the begin of a CDATA section pass: comments and DTDs are
// forbidden.
func xmppCDATABegin(b []byte) (int, error) {
	const begin = "<![CDATA["
	switch dialogue.MatchLiteral(b, []byte(begin)) {
	case dialogue.Matched:
		return len(begin), nil
	case dialogue.NeedMore:
		return 0, nil
	}
	return 0, errXMPPRestricted
}

// xmppCDATAExtent returns how much of b belongs to a CDATA section, and whether it ends
// there. What could begin its end must wait for more.
func xmppCDATAExtent(b []byte) (size int, ends bool) {
	const end = "]]>"
	if i := bytes.Index(b, []byte(end)); i >= 0 {
		return i + len(end), true
	}
	waiting := len(b) - len(bytes.TrimRight(b, "]"))
	return len(b) - min(waiting, len(end)-1), false
}

func xmppBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
