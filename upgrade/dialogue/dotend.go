package dialogue

import "bytes"

// What dotEnd has found.
type endKind int

const (
	endNone      endKind = iota
	endCertain           // a dot between two CRLF, which ends a message for everybody
	endAmbiguous         // a dot alone on its line, where not all servers see a line
)

// A dotEnd looks for the end of a message: a dot alone between two CRLF (RFC 5321
// section 4.1.1.4). Servers have taken a dot between other line ends for one, too:
// bare LF or CR on either side, and NUL beside it. That is how commands are smuggled
// past whoever reads the message in another way, so such a dot is ambiguous.
//
// It wants every octet of the message, however they are cut. Its zero value is at the
// beginning of a message, which counts as behind a CRLF.
type dotEnd struct {
	started bool
	last    byte // the octet before the next one
	crlf    bool // it is the LF of a CRLF
	inLine  bool // the present line has octets other than NUL

	dot    bool // the present line has a dot, and nothing else but NUL
	strict bool // the dot is behind CRLF, and nothing is behind the dot
}

// find consumes octets up to the end of the message, or all of them. It leaves a CR that
// only the next octet can tell from an end, and of an ambiguous end what would complete
// it.
func (d *dotEnd) find(b []byte) (n int, found endKind) {
	for n < len(b) {
		if !d.dot {
			n += d.skipText(b[n:])
			if n < len(b) {
				d.dot, d.strict = true, d.crlf || !d.started
				d.remember(b[n : n+1])
				n++
			}
			continue
		}
		switch c := b[n]; {
		case c == 0:
			d.strict = false
			n++
		case c != '\r' && c != '\n':
			d.dot = false
		case c == '\n' || !d.strict:
			return n, endAmbiguous
		case n+1 == len(b):
			return n, endNone
		case b[n+1] == '\n':
			return n + 2, endCertain
		default:
			return n, endAmbiguous
		}
	}
	return n, endNone
}

// skipText returns how many octets have no dot at the beginning of a line. It is where
// a message spends its time.
func (d *dotEnd) skipText(b []byte) int {
	for from := 0; ; {
		dot := bytes.IndexByte(b[from:], '.')
		if dot < 0 {
			d.remember(b)
			return len(b)
		}
		at := from + dot
		d.remember(b[:at])
		if !d.inLine {
			return at
		}
		from = at + 1
	}
}

// remember keeps what the octets before the next one say of its line: b has all that has
// come since skipText was called.
func (d *dotEnd) remember(b []byte) {
	if len(b) == 0 {
		return
	}
	i := len(b) - 1
	for i >= 0 && b[i] == 0 { // transparent to some servers
		i--
	}
	if i >= 0 {
		d.inLine = b[i] != '\n' && b[i] != '\r'
	}
	before := d.last
	if len(b) > 1 {
		before = b[len(b)-2]
	}
	d.last, d.started = b[len(b)-1], true
	d.crlf = d.last == '\n' && before == '\r'
}
