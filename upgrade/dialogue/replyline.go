package dialogue

import "bytes"

// A LongReplyGrammar is a Grammar that knows early on that a line of a long reply passes as
// it is. What has arrived of it need not wait for the rest.
type LongReplyGrammar interface {
	Grammar

	// Passes reports whether a line passes to the client unchanged, and nothing else comes
	// of it, by what has arrived of it.
	Passes(begun []byte) bool
}

// maxReplyLine bounds a line of the backend's that is no payload.
const maxReplyLine = 16 << 10

// FromBackend implements Filter.
func (f *CommandFilter) FromBackend(x *Exchange, b []byte) int {
	switch {
	case f.reply > 0:
		n := CutRest(&f.reply, b)
		x.ToClient(b[:n])
		return n
	case f.begun > 0:
		return f.passReplyLine(x, b)
	}
	if g, ok := f.grammar.(LongReplyGrammar); ok && len(f.pending) > 0 && g.Passes(b) {
		return f.passReplyLines(x, g, b)
	}
	end := bytes.IndexByte(b, '\n')
	switch {
	case end >= maxReplyLine, end < 0 && len(b) >= maxReplyLine:
		x.CloseFor(ErrBackend) // no reply that anybody knows is that long
		return len(b)
	case end < 0:
		return 0
	}
	f.grammar.Reply(x, b[:end+1])
	return end + 1
}

// passReplyLines passes on all lines that pass as they are, and of the last one as much as
// there is.
func (f *CommandFilter) passReplyLines(x *Exchange, g LongReplyGrammar, b []byte) (n int) {
	for g.Passes(b[n:]) {
		end := bytes.IndexByte(b[n:], '\n')
		if end < 0 || end >= maxReplyLine {
			break
		}
		n += end + 1
	}
	if n == 0 {
		return f.passReplyLine(x, b)
	}
	x.ToClient(b[:n])
	return n
}

// passReplyLine passes on the next part of a line. Replies of our own wait meanwhile, for the
// reply that the line belongs to.
func (f *CommandFilter) passReplyLine(x *Exchange, b []byte) int {
	n := bytes.IndexByte(b, '\n') + 1
	ended := n > 0
	if !ended {
		n = len(b)
	}
	if f.begun += n; f.begun > maxReplyLine {
		x.CloseFor(ErrBackend)
		return len(b)
	}
	x.ToClient(b[:n])
	x.AmidLine(!ended)
	if ended {
		f.begun = 0
	}
	return n
}
