package dialogue

import (
	"bytes"
	"strings"
)

// CRLF makes lines of their texts, in one piece.
func CRLF(lines []string) []byte {
	size := 0
	for _, line := range lines {
		size += len(line) + len("\r\n")
	}
	return appendCRLF(make([]byte, 0, size), lines)
}

// appendCRLF appends lines to p.
func appendCRLF(p []byte, lines []string) []byte {
	for _, line := range lines {
		p = append(append(p, line...), "\r\n"...)
	}
	return p
}

// CutLine takes the first line out of buf, without its LF or CRLF.
func CutLine(buf *[]byte) (line string, ok bool) {
	end := bytes.IndexByte(*buf, '\n')
	if end < 0 {
		return "", false
	}
	line = string((*buf)[:end])
	*buf = (*buf)[end+1:]
	return strings.TrimSuffix(line, "\r"), true
}

// Printable reports whether a line is free of control characters: NUL, bare CR
// and their like have no place in a command, and none in a log.
func Printable(line string) bool {
	return !strings.ContainsFunc(line, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f
	})
}

// SplitVerb splits a command line into its verb, in upper case, and the rest. A
// line with control characters has no verb, and is no command that anyone knows.
func SplitVerb(line string) (verb, arg string) {
	if !Printable(line) {
		return "", ""
	}
	verb, arg, _ = strings.Cut(line, " ")
	return upperText(verb), strings.Trim(arg, " \t")
}
