package lenient

import (
	"bytes"
	"slices"
	"strings"
)

// A command is one of IMAP or of ManageSieve, as far as it has arrived: it goes on
// behind a literal.
type command struct {
	tag, verb string
	args      []string // strings without their quotes, literals among them
	bad       bool     // not to be understood; its end is the end of the line
	open      bool     // goes on behind a literal
}

// A literalReader reads the arguments of such commands.
type literalReader struct {
	octets int  // of a literal, still to come
	skip   bool // nobody wants them
	value  []byte
}

// announced finds the literal that a word announces: {n} or {n+}, and the same
// behind a ~ where the server knows literal8.
func (s *session) announced(word string, syncToo bool) (n int, waits, ok bool) {
	if s.has(Literal8) {
		word = strings.TrimPrefix(word, "~")
	}
	digits, isOpen := strings.CutPrefix(word, "{")
	digits, isClosed := strings.CutSuffix(digits, "}")
	digits, follows := strings.CutSuffix(digits, "+")
	n, isNumber := number(digits)
	switch {
	case !isOpen || !isClosed || !isNumber:
		return 0, false, false
	case follows:
		return n, false, !s.has(NoLiteralPlus)
	}
	return n, true, syncToo
}

// arguments reads those of a line into c. literal is the word at its end that may
// announce a literal, if a literal can stand there.
func (s *session) arguments(c *command, rest []byte) (literal string) {
	rest = s.text(rest)
	for len(rest) > 0 && !c.bad {
		switch {
		case s.blank(rest[0]), rest[0] == '(', rest[0] == ')':
			rest = rest[1:]
		case rest[0] == '"':
			rest = quoted(c, rest)
		default:
			end := slices.IndexFunc(rest, func(b byte) bool { return s.blank(b) || b == '(' || b == ')' })
			if end < 0 {
				end = len(rest)
			}
			word := string(rest[:end])
			rest = rest[end:]
			if len(rest) == 0 && strings.HasSuffix(word, "}") && strings.HasPrefix(strings.TrimPrefix(word, "~"), "{") {
				return word
			}
			c.args = append(c.args, word)
		}
	}
	return ""
}

// quoted reads a quoted string. One without an end is an error.
func quoted(c *command, rest []byte) []byte {
	var value []byte
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '"':
			c.args = append(c.args, string(value))
			return rest[i+1:]
		case '\\':
			i++
		}
		if i < len(rest) {
			value = append(value, rest[i])
		}
	}
	c.bad = true
	return nil
}

// greedy finds {n+} or {n} at the very end of a line, whatever stands before it.
func (s *session) greedy(line []byte) string {
	line = s.text(line)
	start := bytes.LastIndexByte(line, '{')
	if start < 0 || !s.has(GreedyLiterals) {
		return ""
	}
	return string(line[start:])
}

// expect begins a literal, if the server takes word for one. Its octets belong to
// the command.
func (r *literalReader) expect(s *session, c *command, word string, syncToo bool, goOn string) bool {
	n, waits, ok := s.announced(word, syncToo)
	if !ok {
		return false
	}
	c.open, r.octets, r.value, r.skip = true, n, nil, c.bad
	if n == 0 && !c.bad {
		c.args = append(c.args, "")
	}
	if waits && goOn != "" {
		s.say(goOn)
	}
	return true
}

// read takes octets of the literal; done means that all are there.
func (r *literalReader) read(s *session, c *command) (done bool) {
	k := min(r.octets, len(s.buf))
	if len(r.value) < maxLine {
		r.value = append(r.value, s.buf[:k]...)
	}
	s.buf = s.buf[k:]
	r.octets -= k
	if r.octets == 0 && !r.skip {
		c.args = append(c.args, string(r.value))
	}
	return r.octets == 0
}
