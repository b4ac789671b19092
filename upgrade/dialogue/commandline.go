package dialogue

import (
	"bytes"
	"strings"
)

// commandVerb returns the verb of a command line, in upper case. It finds the verb that
// the most lenient server finds: behind blanks, and before the next blank, which may be
// a TAB. ok is false for a line that servers may read in different ways, and for one
// whose verb is none.
func commandVerb(line []byte, quoted bool) (verb string, ok bool) {
	if !wellFormed(line, quoted) {
		return "", false
	}
	verb = FirstWord(line)
	return verb, isVerb(verb)
}

// wellFormed reports whether a line holds nothing that ends it, or separates its words,
// for some servers only: NUL, CR and the other control characters but TAB, which is a
// blank for all of them. Quoted strings, where the protocol has some, may hold all but
// NUL and CR.
func wellFormed(line []byte, quoted bool) bool {
	text := TrimTerminator(line)
	inside := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '"':
			inside = !inside && bytes.IndexByte(text[i+1:], '"') >= 0
		case inside && c == '\\' && i+1 < len(text) && (text[i+1] == '"' || text[i+1] == '\\'):
			i++
		case c == 0 || c == '\r':
			return false
		case !inside && isControl(c):
			return false
		}
	}
	return true
}

// WellFormed reports whether all servers agree on where a line ends, and where its words do: it has
// no control characters but TAB. It is for protocols without quoted strings.
func WellFormed(line []byte) bool { return wellFormed(line, false) }

// isControl reports whether c is a control character, TAB excepted.
func isControl(c byte) bool { return c < ' ' && c != '\t' || c == 0x7f }

// TrimTerminator returns a line without its LF or CRLF.
func TrimTerminator(line []byte) []byte {
	text, ended := bytes.CutSuffix(line, []byte("\n"))
	if !ended {
		return line
	}
	return bytes.TrimSuffix(text, []byte("\r"))
}

// maxVerb bounds what can be a verb, in octets.
const maxVerb = 32

// FirstWord returns what a line begins with behind blanks, up to the next blank, in
// upper case. Of a word that is too long to be a verb it returns the beginning.
func FirstWord(line []byte) string {
	line = bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(line, " \t\r\n")
	if end < 0 {
		end = len(line)
	}
	return UpperASCII(line[:min(end, maxVerb+1)])
}

// Words splits a line at its blanks.
func Words(line []byte) []string {
	return strings.FieldsFunc(string(TrimTerminator(line)), func(r rune) bool { return r == ' ' || r == '\t' })
}

// isVerb reports whether word can be a verb: ASCII letters, digits and hyphens. Other
// letters that Unicode folds to these are none.
func isVerb(word string) bool {
	if word == "" || len(word) > maxVerb {
		return false
	}
	for i := range len(word) {
		switch c := word[i]; {
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// UpperASCII returns b with the letters of ASCII in upper case, and no others.
func UpperASCII(b []byte) string {
	var room [2 * maxVerb]byte // for a verb, that is in no need of a place on the heap
	upper := append(room[:0], b...)
	for i, c := range upper {
		if isLower(c) {
			upper[i] = c - ('a' - 'A')
		}
	}
	return string(upper)
}

// upperText is UpperASCII of a text, which is the same one if it is in upper case already.
func upperText(s string) string {
	for i := range len(s) {
		if isLower(s[i]) {
			return UpperASCII([]byte(s))
		}
	}
	return s
}

func isLower(c byte) bool { return 'a' <= c && c <= 'z' }

// EqualASCII reports whether both are the same but for the case of ASCII letters.
func EqualASCII(a, b string) bool { return UpperASCII([]byte(a)) == UpperASCII([]byte(b)) }

// TrimLine returns a line without its terminator.
func TrimLine(line []byte) string { return string(bytes.TrimRight(line, "\r\n")) }
