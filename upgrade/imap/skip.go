package imap

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An imapSkip is what is still to come of a command that has been refused.
type imapSkip struct {
	octets int64  // of a literal
	line   bool   // and then the rest of a line
	tail   []byte // the end of that line so far
}

// maxAnnouncement is more than an announced literal is long.
const maxAnnouncement = 64

func (s *imapSkip) pending() bool { return s.line }

// begin sets what follows a run that is refused.
func (s *imapSkip) begin(r *imapRun) {
	switch {
	case r.long:
		s.line = true
		s.tail = keepTail(nil, r.b[:r.size])
	case r.scan.Literal && !r.scan.Waits:
		s.line, s.octets = true, r.scan.Octets
	}
}

// skip returns how much of b belongs to it.
func (s *imapSkip) skip(b []byte) int {
	if s.octets > 0 {
		n := min(s.octets, int64(len(b)))
		s.octets -= n
		return int(n)
	}
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		s.tail = keepTail(s.tail, b)
		return len(b)
	}
	octets, waits, ok := dialogue.AnnouncedLiteral(dialogue.TrimLine(keepTail(s.tail, b[:end+1])))
	s.tail, s.line = nil, ok && !waits
	if s.line {
		s.octets = octets
	}
	return end + 1
}

// keepTail adds b to the end of a line, and forgets what cannot be part of an
// announcement there.
func keepTail(tail, b []byte) []byte {
	tail = append(tail, b[max(0, len(b)-maxAnnouncement):]...)
	return bytes.Clone(tail[max(0, len(tail)-maxAnnouncement):])
}
