package dialogue

import "fmt"

const (
	// firstRoom is what a session that waits has room for, in octets: enough for what is
	// said at a time, and little for one who says nothing.
	firstRoom = 512

	// mostRoom is what is kept of the room of a message that has been consumed.
	mostRoom = 2048
)

// Fill reads once, as much as there is room for: it is for those who look at what a client begins
// with, and then have a role read it. A role calls More, which keeps to the limit of a line.
func (s *Session) Fill() error { return s.fill() }

// fill reads once, as much as there is room for.
func (s *Session) fill() error {
	if s.received >= s.limits.Bytes {
		return ErrTooMany
	}
	s.makeRoom()
	had := len(s.buf)
	n, err := s.in.Read(s.buf[had:min(cap(s.buf), had+s.limits.Bytes-s.received)])
	s.buf = s.buf[:had+n]
	alert := s.client && s.received == 0 && n > 0 && s.buf[had] == recordTypeAlert
	s.received += n
	s.hear(s.buf[had:])
	switch {
	case alert:
		return fmt.Errorf("%w: %w", ErrMalformed, ErrExpectsTLS)
	case n > 0:
		return nil
	}
	return AsNegotiationError(err)
}

// makeRoom has buf end where there is room to read more. What has been consumed makes room
// once all is.
func (s *Session) makeRoom() {
	if len(s.buf) == 0 {
		if cap(s.room) > mostRoom {
			s.room = nil
		}
		s.buf = s.room[:0]
	}
	if len(s.buf) < cap(s.buf) {
		return
	}
	s.room = make([]byte, len(s.buf), max(firstRoom, 2*len(s.buf)))
	copy(s.room, s.buf)
	s.buf = s.room
}
