package imap

import "strings"

// maxCapability is more than any capability that matters here is long.
const maxCapability = 32

// An imapListFilter takes words out of a list of capabilities while the list passes,
// however long it is. What it keeps is unchanged; a word goes with the blank before
// it, or with the one behind it if it is the first.
type imapListFilter struct {
	code bool                   // the list is a response code, and ends at "]"
	keep func(word string) bool // is shown each word

	ended  bool
	kept   bool   // a word has been kept
	word   []byte // the present one, as far as it has arrived
	long   bool   // it is longer than any that matters, and passes as it arrives
	before byte   // the blank before it, not passed on yet, or zero
}

// pass appends to out what is kept of p.
func (l *imapListFilter) pass(out, p []byte) []byte {
	for i, c := range p {
		switch {
		case l.ended:
			return append(out, p[i:]...)
		case c == ' ' || c == '\t':
			out = l.endWord(out)
			l.before = c
		case c == '\r' || c == '\n' || l.code && c == ']':
			out = append(l.endWord(out), c)
			l.ended = true
		case l.long:
			out = append(out, c)
		default:
			if l.word = append(l.word, c); len(l.word) > maxCapability {
				out = l.keepWord(out)
				l.long = true
			}
		}
	}
	return out
}

// endWord decides on the word that has ended, of which an empty one is kept.
func (l *imapListFilter) endWord(out []byte) []byte {
	if l.long {
		l.long = false
		return out
	}
	if l.keep(imapUpper(l.word)) {
		return l.keepWord(out)
	}
	l.word, l.before = l.word[:0], 0
	return out
}

func (l *imapListFilter) keepWord(out []byte) []byte {
	if l.kept && l.before != 0 {
		out = append(out, l.before)
	}
	out = append(out, l.word...)
	l.word, l.before, l.kept = l.word[:0], 0, true
	return out
}

// imapListStart finds where the capabilities of a response begin: behind the word of
// "* CAPABILITY ...", or in the code of a status response (RFC 9051 section 7.1).
// The beginning of a response will do.
func imapListStart(line string) (start int, code, ok bool) {
	tag, word, text := imapReply(line)
	start = len(line) - len(text)
	if tag == "*" && word == "CAPABILITY" {
		return start, false, true
	}
	const name = "[CAPABILITY"
	if !imapStatus(word) || len(text) <= len(name) || imapUpper(text[:len(name)]) != name {
		return 0, false, false
	}
	start += len(name) + 1
	return start, true, text[len(name)] == ' ' || text[len(name)] == '\t'
}

// imapReply is imapResponse for the filter, which takes any blanks for one. The
// backend is one that it is to trust.
func imapReply(line string) (tag, word, text string) {
	if strings.HasPrefix(line, "+") {
		return "+", "", line[1:]
	}
	tag, rest := imapCut(line)
	word, text = imapCut(rest)
	return tag, imapUpper(word), text
}

// imapUpper folds ASCII only. In Unicode there is more than one S and K.
func imapUpper[T ~string | ~[]byte](word T) string {
	upper := []byte(string(word))
	for i, c := range upper {
		if 'a' <= c && c <= 'z' {
			upper[i] = c - 'a' + 'A'
		}
	}
	return string(upper)
}

// imapCut is strings.Cut at the first blank, and skips all that follow it.
func imapCut(s string) (before, after string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}
