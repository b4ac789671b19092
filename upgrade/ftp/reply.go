package ftp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// A replyReader finds out where replies end (RFC 959 section 4.2): one of several lines has a
// hyphen behind the code of the first, and ends with a line that has the same code and a
// blank. What is between may be anything.
type replyReader struct {
	code string // of the reply that goes on, or empty
}

// read takes a line, and returns the code of the reply that it belongs to, and whether it is
// the last of that. A line that belongs to none has no code.
func (r *replyReader) read(line []byte) (code string, last bool) {
	text := dialogue.TrimLine(line)
	own := ""
	if len(text) >= 3 && '1' <= text[0] && text[0] <= '6' && isDigit(text[1]) && isDigit(text[2]) {
		own = text[:3]
	}
	switch ends := own != "" && (len(text) == 3 || text[3] == ' '); {
	case r.code != "" && ends && own == r.code:
		r.code = ""
		return own, true
	case r.code != "":
		return r.code, false
	case ends:
		return own, true
	case own != "" && text[3] == '-':
		r.code = own
		return own, false
	}
	return "", false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isRefusal(code string) bool { return code[0] == '4' || code[0] == '5' }
