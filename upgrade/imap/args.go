package imap

import (
	"bytes"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// imapArgs checks the arguments of a command against its grammar, line by line and
// literal by literal, as they come.
type imapArgs interface {
	// line takes what a line has of arguments, up to a literal that it announces.
	line(text []byte, literal dialogue.ArgumentScan) bool
	// literal takes the octets of a literal that did not wait.
	literal(octets []byte) bool
}

// imapIDArgs are those of ID (RFC 2971 section 3.1): NIL, or a list of fields and values. A
// field that begins with "x-" is how one Dovecot tells another of a client: its
// address, its TLS, its session. What a backend takes from us, because it trusts our
// address, it is not to take from a client.
type imapIDArgs struct {
	list, over bool // inside the list; behind the arguments
	value      bool // a value is next, and not a field
}

// maxIMAPField is the length that RFC 2971 section 3.3 allows a field. At a longer one
// Dovecot gives up, and reads the literal that follows as commands.
const maxIMAPField = 30

func (a *imapIDArgs) line(text []byte, literal dialogue.ArgumentScan) bool {
	for text = bytes.Trim(text, " "); len(text) > 0; text = bytes.TrimLeft(text, " ") {
		n, ok := a.next(text)
		if !ok {
			return false
		}
		text = text[n:]
	}
	// A field that waits for the backend would be known only after it has begun.
	return !literal.Literal || a.list && !literal.Eight && (a.value || !literal.Waits)
}

// next takes the argument that text begins with, and returns its length.
func (a *imapIDArgs) next(text []byte) (n int, ok bool) {
	switch {
	case text[0] == '(' && !a.list && !a.over:
		a.list = true
		return 1, true
	case text[0] == ')' && a.list && !a.value:
		a.list, a.over = false, true
		return 1, true
	case text[0] == '"' && a.list:
		field, n := unquote(text)
		return n, a.literal(field)
	}
	word, _, _ := bytes.Cut(bytes.TrimRight(text, ")"), []byte(" "))
	if imapUpper(word) != "NIL" || a.over || a.list && !a.value {
		return 0, false
	}
	a.over, a.value = !a.list, false
	return len(word), true
}

func (a *imapIDArgs) literal(octets []byte) bool {
	a.value = !a.value
	isField := a.value
	return !isField || len(octets) <= maxIMAPField && !strings.HasPrefix(imapUpper(octets), "X-")
}

// imapLoginArgs are those of LOGIN (RFC 9051 section 6.2.3): two strings, or words in
// their place. It is for a LOGIN with literals that do not wait.
type imapLoginArgs struct {
	got    int
	behind bool // a literal: a blank must be next
}

func (a *imapLoginArgs) line(text []byte, literal dialogue.ArgumentScan) bool {
	if a.behind && len(text) > 0 && text[0] != ' ' {
		return false
	}
	a.behind = false
	for text = bytes.TrimLeft(text, " "); len(text) > 0; text = bytes.TrimLeft(text, " ") {
		n := bytes.IndexByte(text, ' ')
		switch {
		case text[0] == '"':
			_, n = unquote(text)
		case n < 0:
			n = len(text)
		}
		if text[0] != '"' && !imapWord(text[:n]) {
			return false
		}
		a.got++
		text = text[n:]
	}
	if literal.Literal {
		return a.got < 2 && !literal.Eight && !literal.Waits
	}
	return a.got == 2
}

func (a *imapLoginArgs) literal([]byte) bool {
	a.got++
	a.behind = true
	return true
}

// imapWord reports whether word is made of ASTRING-CHARs (RFC 9051 section 9).
func imapWord(word []byte) bool {
	return !bytes.ContainsFunc(word, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\`, r)
	})
}

// unquote returns what the quoted string that text begins with says, and its length.
// scanArguments has found its end.
func unquote(text []byte) (said []byte, n int) {
	for n = 1; n < len(text) && text[n] != '"'; n++ {
		if text[n] == '\\' && n+1 < len(text) {
			n++
		}
		said = append(said, text[n])
	}
	return said, min(n+1, len(text))
}
