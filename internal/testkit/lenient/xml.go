package lenient

import (
	"bytes"
	"html"
	"strings"
)

// An xmlElement is a start tag.
type xmlElement struct {
	prefix, local, space string
	attrs                map[string]string
	empty                bool // <name/>
}

func (e xmlElement) is(space, local string) bool { return e.space == space && e.local == local }

// xmlExtent is the size of the token that b begins with, 0 if more must arrive. A
// token is a tag, a comment, a CDATA section, an instruction, a declaration, or the
// text before the next of these.
func xmlExtent(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if b[0] != '<' {
		if end := bytes.IndexByte(b, '<'); end >= 0 {
			return end
		}
		return len(b)
	}
	for _, kind := range []struct{ begin, end string }{{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}} {
		if n := min(len(b), len(kind.begin)); string(b[:n]) == kind.begin[:n] && len(b) > 1 {
			return xmlEnd(b, len(kind.begin), kind.end)
		}
	}
	return xmlTagExtent(b)
}

func xmlEnd(b []byte, from int, end string) int {
	if len(b) < from {
		return 0
	}
	if i := bytes.Index(b[from:], []byte(end)); i >= 0 {
		return from + i + len(end)
	}
	return 0
}

// xmlTagExtent finds the end of a tag, which is not inside quotes, or of a DOCTYPE,
// which is not inside brackets either.
func xmlTagExtent(b []byte) int {
	quote, brackets := byte(0), 0
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[' && b[1] == '!':
			brackets++
		case c == ']' && b[1] == '!':
			brackets--
		case c == '>' && brackets <= 0:
			return i + 1
		}
	}
	return 0
}

const xmlBlanks = " \t\r\n"

// parseElement reads a start tag.
func parseElement(token []byte) xmlElement {
	text, empty := strings.CutSuffix(strings.TrimSuffix(string(token[1:]), ">"), "/")
	name, rest := text, ""
	if end := strings.IndexAny(text, xmlBlanks); end >= 0 {
		name, rest = text[:end], text[end:]
	}
	e := xmlElement{local: name, attrs: map[string]string{}, empty: empty}
	if prefix, local, ok := strings.Cut(name, ":"); ok {
		e.prefix, e.local = prefix, local
	}
	for {
		name, after, ok := strings.Cut(rest, "=")
		after = strings.TrimLeft(after, xmlBlanks)
		if !ok || after == "" {
			return e
		}
		value, after, ok := strings.Cut(after[1:], after[:1])
		if !ok {
			return e
		}
		e.attrs[strings.Trim(name, xmlBlanks)] = html.UnescapeString(value)
		rest = after
	}
}
