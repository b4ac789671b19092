package dialogue

// maxAhead bounds what is read of a client whose bytes wait, in octets.
const maxAhead = 16 << 10

// MaxFiltered bounds what a Filter collects of one line or message before it decides on it,
// in octets.
const MaxFiltered = 16 << 10

// CutRest takes as much of rest, which is what is left of something, as b has.
func CutRest(rest *int64, b []byte) int {
	n := min(*rest, int64(len(b)))
	*rest -= n
	return int(n)
}

// A lane is one direction of an Exchange: what has arrived and is not consumed, and what
// is to be passed on. What passes as it is, is passed on where it lies: neither of a
// session that waits nor of one that moves payload is anything kept here.
type lane struct {
	arrived []byte // not consumed; a copy of our own
	passed  []byte // to be delivered; a copy of our own

	input      []byte // what is being fed: arrived, or what somebody else holds
	own        bool   // it is arrived
	at         int    // up to here it is consumed
	begin, end int    // the part of it that is passed on where it lies
}

// arrive begins to feed p, behind what is left of earlier.
func (l *lane) arrive(p []byte) {
	l.own = len(l.arrived) > 0
	l.input, l.at, l.begin, l.end = p, 0, 0, 0
	if l.own {
		l.input = append(l.arrived, p...)
	}
	l.arrived = nil
}

// more reports whether there is something to feed.
func (l *lane) more() bool { return l.at < len(l.input) }

// rest is what is not consumed of what is being fed.
func (l *lane) rest() []byte { return l.input[l.at:] }

// consume takes n octets for consumed, and reports whether that is any.
func (l *lane) consume(n int) bool {
	l.at += min(n, len(l.input)-l.at)
	return n > 0
}

// passRest passes on what is not consumed.
func (l *lane) passRest() {
	if l.input == nil {
		l.passed = append(l.passed, l.arrived...)
		l.arrived = nil
		return
	}
	l.pass(l.input[l.at:])
	l.at = len(l.input)
}

// pass passes p on. If p lies in what is being fed, right behind what is passed on there
// already, it needs no copy.
func (l *lane) pass(p []byte) {
	if len(p) == 0 {
		return
	}
	if len(l.passed) == 0 {
		if l.begin == l.end && l.lies(p, l.at) {
			l.begin, l.end = l.at, l.at+len(p)
			return
		}
		if l.begin < l.end && l.lies(p, l.end) {
			l.end += len(p)
			return
		}
	}
	l.gather()
	l.passed = append(l.passed, p...)
}

// lies reports whether p is the part of the input that begins at the given place.
func (l *lane) lies(p []byte, at int) bool {
	return at+len(p) <= len(l.input) && &p[0] == &l.input[at]
}

// gather copies what is passed on where it lies to what is passed on in a copy.
func (l *lane) gather() {
	l.passed = append(l.passed, l.input[l.begin:l.end]...)
	l.begin, l.end = 0, 0
}

// settle ends the feeding, and keeps what is not consumed. It fills out with what is to be
// delivered, and keeps what there is no room for.
func (l *lane) settle(out []byte) (n int) {
	inPlace := l.settleAll()
	n = copy(out, inPlace)
	if n < len(inPlace) {
		l.passed = append([]byte(nil), inPlace[n:]...)
	}
	return n
}

// settleAll is settle for those who have room for everything. It returns what is to be
// delivered, from where it lies or from a copy.
func (l *lane) settleAll() []byte {
	if rest := l.input[l.at:]; len(rest) > 0 {
		l.arrived = rest
		if !l.own {
			l.arrived = append([]byte(nil), rest...)
		}
	}
	inPlace := l.input[l.begin:l.end:l.end]
	l.input, l.at, l.begin, l.end = nil, 0, 0, 0
	if len(l.passed) > 0 {
		return l.takeAll()
	}
	return inPlace
}

// take delivers as much of what is passed on as p has room for.
func (l *lane) take(p []byte) int {
	n := copy(p, l.passed)
	l.passed = l.passed[n:]
	if len(l.passed) == 0 {
		l.passed = nil
	}
	return n
}

// takeAll delivers all that is passed on.
func (l *lane) takeAll() []byte {
	all := l.passed
	l.passed = nil
	return all
}
