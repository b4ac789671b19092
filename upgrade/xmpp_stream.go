package upgrade

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
)

// What is wrong with a stream, beyond ErrMalformed, for Farewell to name.
var (
	errXMPPRestricted = fmt.Errorf("%w: comment, DTD or processing instruction", ErrMalformed)
	errXMPPNamespace  = fmt.Errorf("%w: not a stream of jabber:client", ErrMalformed)
	errXMPPVersion    = fmt.Errorf("%w: version below 1.0", ErrMalformed)
	errXMPPElement    = fmt.Errorf("%w: unknown element", ErrMalformed)
)

// maxXMPPDepth bounds how deeply elements are nested before TLS, and in what is
// looked at inside it.
const maxXMPPDepth = 8

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
	depth int  // how many elements this one is in; 0 is the stream's own tag
	empty bool // <name/>
	blank bool // the text is white space
}

func (t *xmppToken) is(space, local string) bool {
	return t.name == xml.Name{Space: space, Local: local}
}

// attr returns an attribute that has no prefix.
func (t *xmppToken) attr(local string) string { return xmppAttr(t.attrs, xml.Name{Local: local}) }

func xmppAttr(attrs []xml.Attr, name xml.Name) string {
	for _, a := range attrs {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// An xmppStream is one direction of a stream. It keeps the elements that are open,
// the stream's own first.
type xmppStream struct {
	open []xmppElement
}

type xmppElement struct {
	tag   xml.Name // with the prefix
	name  xml.Name
	attrs []xml.Attr
}

// next reads the token that b begins with. Where a tag ends is found before it is
// looked at, so that not an octet behind it plays a part. XML is restricted as in
// RFC 6120 section 11.1, but CDATA is not supported either: no client needs it.
func (x *xmppStream) next(b []byte) (xmppToken, error) {
	size, err := xmppExtent(b)
	if err != nil || size == 0 {
		return xmppToken{}, err
	}
	if b[0] != '<' {
		text := b[:size]
		return xmppToken{kind: xmppText, size: size, depth: len(x.open), blank: len(bytes.TrimLeft(text, " \t\r\n")) == 0}, nil
	}
	d := xml.NewDecoder(bytes.NewReader(b[:size]))
	raw, err := d.RawToken()
	if err != nil || d.InputOffset() != int64(size) {
		return xmppToken{}, ErrMalformed
	}
	switch tag := raw.(type) {
	case xml.ProcInst:
		if len(x.open) > 1 {
			return xmppToken{}, errXMPPRestricted
		}
		return xmppToken{kind: xmppDeclaration, size: size, depth: len(x.open)}, nil
	case xml.StartElement:
		return x.start(tag, size, b[size-2] == '/')
	case xml.EndElement:
		return x.end(tag, size)
	}
	return xmppToken{}, ErrMalformed
}

func (x *xmppStream) start(tag xml.StartElement, size int, empty bool) (xmppToken, error) {
	seen := make(map[xml.Name]bool, len(tag.Attr))
	for _, a := range tag.Attr {
		if seen[a.Name] {
			return xmppToken{}, ErrMalformed
		}
		seen[a.Name] = true
	}
	e := xmppElement{tag: tag.Name, attrs: tag.Attr}
	if len(x.open) == 1 && tag.Name == x.open[0].tag {
		x.open = nil // a new stream in place of the old one, as after SASL
	}
	ok := false
	if e.name, ok = x.resolve(e); !ok || len(x.open) >= maxXMPPDepth {
		return xmppToken{}, ErrMalformed
	}
	t := xmppToken{kind: xmppStart, size: size, name: e.name, attrs: tag.Attr, depth: len(x.open), empty: empty}
	if !empty {
		x.open = append(x.open, e)
	}
	return t, nil
}

func (x *xmppStream) end(tag xml.EndElement, size int) (xmppToken, error) {
	last := len(x.open) - 1
	if last < 0 || x.open[last].tag != tag.Name {
		return xmppToken{}, ErrMalformed
	}
	name := x.open[last].name
	x.open = x.open[:last]
	return xmppToken{kind: xmppEnd, size: size, name: name, depth: last}, nil
}

// resolve finds the namespace that belongs to an element's prefix.
func (x *xmppStream) resolve(e xmppElement) (xml.Name, bool) {
	declaration := xml.Name{Local: "xmlns"}
	if e.tag.Space != "" {
		declaration = xml.Name{Space: "xmlns", Local: e.tag.Space}
	}
	for _, in := range slices.Backward(append(slices.Clip(x.open), e)) {
		if space := xmppAttr(in.attrs, declaration); space != "" {
			return xml.Name{Space: space, Local: e.tag.Local}, true
		}
	}
	return e.tag, e.tag.Space == ""
}

// xmppExtent returns the size of the token that b begins with, 0 if more of it
// must arrive.
func xmppExtent(b []byte) (int, error) {
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
		return 0, errXMPPRestricted
	}
	quote := byte(0)
	for i, c := range b[1:] {
		switch {
		case c == '<', c < ' ' && !xmppBlank(c):
			return 0, ErrMalformed
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return i + 2, nil
		}
	}
	return 0, nil
}

// xmppDeclarationExtent lets only the XML declaration pass.
func xmppDeclarationExtent(b []byte) (int, error) {
	const begin = "<?xml"
	if matchLiteral(b, []byte(begin)) == NoMatch || len(b) > len(begin) && !xmppBlank(b[len(begin)]) {
		return 0, errXMPPRestricted
	}
	if end := bytes.Index(b, []byte("?>")); end >= 0 {
		return end + 2, nil
	}
	return 0, nil
}

func xmppBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// xmppRead reads and consumes a token. What is inside an element does not count as
// commands.
func xmppRead(s *Session, x *xmppStream) (xmppToken, error) {
	for {
		t, err := x.next(s.Buffered())
		switch {
		case err != nil:
			return t, err
		case t.size > 0 && t.depth > 1:
			return t, s.Discard(int64(t.size))
		case t.size > 0:
			_, err = s.Next(t.size)
			return t, err
		}
		if err := s.More(); err != nil {
			return t, err
		}
	}
}

// xmppHeader reads the start of a stream (RFC 6120 section 4.7), behind a
// declaration or none.
func xmppHeader(s *Session, x *xmppStream) (xmppToken, error) {
	for first := true; ; first = false {
		t, err := xmppRead(s, x)
		switch {
		case err != nil:
			return t, err
		case t.kind == xmppDeclaration && first:
		case t.kind == xmppText && t.blank:
		case t.kind == xmppStart && !t.empty:
			return t, t.checkHeader()
		default:
			return t, ErrMalformed
		}
	}
}

func (t *xmppToken) checkHeader() error {
	if !t.is(xmppStreams, "stream") || t.attr("xmlns") != xmppClient {
		return errXMPPNamespace
	}
	return nil
}

// xmppNext reads the start of the next element, or the end of the stream. White
// space between elements keeps a connection alive (RFC 6120 section 4.6.1).
func xmppNext(s *Session, x *xmppStream) (xmppToken, error) {
	for {
		t, err := xmppRead(s, x)
		switch {
		case err != nil:
			return t, err
		case t.kind == xmppText && t.blank:
		case t.kind == xmppEnd, t.kind == xmppStart && t.depth == 1:
			return t, nil
		default:
			return t, ErrMalformed
		}
	}
}

// xmppSkip reads to the end of an element.
func xmppSkip(s *Session, x *xmppStream, start xmppToken) error {
	for t := start; !start.empty && (t.kind != xmppEnd || t.depth > start.depth); {
		var err error
		if t, err = xmppRead(s, x); err != nil {
			return err
		}
	}
	return nil
}

// xmppClose reads to the end of an element that must have nothing in it.
func xmppClose(s *Session, x *xmppStream, start xmppToken) error {
	if start.empty {
		return nil
	}
	t, err := xmppRead(s, x)
	if err == nil && t.kind != xmppEnd {
		err = ErrMalformed
	}
	return err
}
