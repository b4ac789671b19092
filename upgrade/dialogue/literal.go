package dialogue

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// An ArgumentScan is what a line of IMAP or ManageSieve is made of, as far as it
// matters to where the command goes on: in both protocols a quoted string may hold
// what looks like a literal, and a literal may hold what looks like a command.
type ArgumentScan struct {
	Literal bool  // the line ends by announcing a literal
	Octets  int64 // its size, at most math.MaxInt64
	Waits   bool  // its sender waits to be told to go on: {n}, not {n+}
	Eight   bool  // it is a literal8, ~{n} (RFC 9051 section 4.3)

	Open    bool // the line ends inside a quoted string
	Control bool // it has control characters where none belong
	Stray   bool // it has a quote or a brace where no argument begins, or one that begins nothing
}

// Sound reports whether all servers read the line alike, as far as the scan can say.
func (s ArgumentScan) Sound() bool { return !s.Open && !s.Control && !s.Stray }

// ScanArguments scans a line, with its terminator or without. A literal or a quoted
// string is one only where an argument begins: behind a blank or an opening bracket,
// and at the line's beginning if begins is set. TAB is a blank. Inside a quoted
// string NUL and CR are refused, elsewhere all control characters but TAB.
func ScanArguments(line []byte, begins bool) (s ArgumentScan) {
	line = TrimTerminator(line)
	for i := 0; i < len(line); i++ {
		switch {
		case begins && line[i] == '"':
			i = s.quoted(line, i)
		case begins && beginsLiteral(line[i:]):
			s.announced(line[i:])
			return s
		default:
			s.plain(line[i])
		}
		begins = i < len(line) && beginsArgument(line[i])
	}
	return s
}

// plain scans an octet outside quoted strings and literals.
func (s *ArgumentScan) plain(c byte) {
	switch {
	case c == '"' || c == '{':
		s.Stray = true
	case isControl(c):
		s.Control = true
	}
}

// quoted scans the quoted string that begins at i, and returns where it ends.
func (s *ArgumentScan) quoted(line []byte, i int) (end int) {
	for i++; i < len(line); i++ {
		switch line[i] {
		case '"':
			s.Stray = s.Stray || i+1 < len(line) && !endsArgument(line[i+1])
			return i
		case '\\':
			i++ // whatever is next, it ends nothing
		}
		if i < len(line) && (line[i] == 0 || line[i] == '\r') {
			s.Control = true
		}
	}
	s.Open = true
	return len(line)
}

// announced scans a brace where an argument begins: it must announce a literal, and
// nothing may follow on the line.
func (s *ArgumentScan) announced(text []byte) {
	text, s.Eight = bytes.CutPrefix(text, []byte("~"))
	s.Octets, s.Waits, s.Literal = AnnouncedLiteral(string(text))
	if s.Literal = s.Literal && bytes.LastIndexByte(text, '{') == 0; !s.Literal {
		s.Octets, s.Waits, s.Stray = 0, false, true
	}
}

func beginsLiteral(text []byte) bool {
	return text[0] == '{' || bytes.HasPrefix(text, []byte("~{"))
}

func beginsArgument(before byte) bool { return strings.IndexByte(" \t([", before) >= 0 }

func endsArgument(behind byte) bool { return strings.IndexByte(" \t)]", behind) >= 0 }

// AnnouncedLiteral finds what a line may end with: {n} announces n octets and
// waits to be told to go on, {n+} is followed by them at once (RFC 7888). An n
// beyond all bounds is a literal, too. It takes no notice of what stands before the
// brace: ScanArguments does.
func AnnouncedLiteral(line string) (n int64, waits, ok bool) {
	start := strings.LastIndexByte(line, '{')
	if start < 0 || !strings.HasSuffix(line, "}") {
		return 0, false, false
	}
	digits, follows := strings.CutSuffix(line[start+1:len(line)-1], "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		n = math.MaxInt64
	}
	return n, !follows, true
}

// SkipLiterals discards what belongs to the command that line begins: taken for
// commands of its own, a literal could hold any. It stops at a literal that the
// client waits with; a server never waits.
func SkipLiterals(s *Session, line string, server bool) (waits bool, err error) {
	for {
		n, waits, ok := AnnouncedLiteral(line)
		if !ok || waits && !server {
			return waits, nil
		}
		if err := s.Discard(n); err != nil {
			return false, err
		}
		if line, err = s.ReadLine(); err != nil {
			return false, err
		}
	}
}
