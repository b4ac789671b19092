package upgrade

import "bytes"

// maxFilterLine bounds what a lineFilter collects of one line. Longer ones are
// passed on unread: no command or reply that a filter looks for is that long.
const maxFilterLine = 16 << 10

// A lineFilter is the part of a Filter that cuts both directions into lines. Its
// functions get each line with its terminator, and pass it on if they want it
// passed on. Literals, which are not made of lines, pass unread.
type lineFilter struct {
	client, backend func(x *Exchange, line []byte)

	// clientTail, if set, is given the end of a line that was passed on unread.
	clientTail func(x *Exchange, tail []byte)

	// Octets of a literal that are still to pass, set by the functions.
	clientLiteral, backendLiteral int

	clientLong, backendLong bool // inside a line that is too long
}

// FromClient implements Filter.
func (f *lineFilter) FromClient(x *Exchange, b []byte) int {
	long := f.clientLong
	n := cutFiltered(b, &f.clientLiteral, &f.clientLong, x.ToBackend, func(line []byte) { f.client(x, line) })
	if long && !f.clientLong && f.clientTail != nil {
		f.clientTail(x, b[:n])
	}
	return n
}

// FromBackend implements Filter.
func (f *lineFilter) FromBackend(x *Exchange, b []byte) int {
	return cutFiltered(b, &f.backendLiteral, &f.backendLong, x.ToClient, func(line []byte) { f.backend(x, line) })
}

// cutFiltered consumes a literal's part, a line, or a part of a long line, of which
// it keeps CRLF together.
func cutFiltered(b []byte, literal *int, long *bool, pass, line func([]byte)) int {
	if *literal > 0 {
		n := min(*literal, len(b))
		*literal -= n
		pass(b[:n])
		return n
	}
	end := bytes.IndexByte(b, '\n')
	n := end + 1
	switch {
	case end < 0 && !*long && len(b) < maxFilterLine:
		return 0
	case end < 0:
		*long = true
		b = bytes.TrimSuffix(b, []byte("\r"))
		pass(b)
		return len(b)
	case *long:
		*long = false
		pass(b[:n])
		return n
	}
	line(b[:n])
	return n
}

// trimLine returns a line without its terminator.
func trimLine(line []byte) string { return string(bytes.TrimRight(line, "\r\n")) }
