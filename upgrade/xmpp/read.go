package xmpp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// xmppRead reads and consumes a token. What is inside an element does not count as
// commands.
func xmppRead(s *dialogue.Session, x *xmppStream) (xmppToken, error) {
	for {
		t, err := x.next(s.Buffered())
		switch {
		case err != nil:
			return t, err
		case t.size > 0 && t.depth > 1:
			return t, s.Discard(int64(t.size))
		case t.size > 0:
			_, err = s.Next(t.size)
			return t, err
		}
		if err := s.More(); err != nil {
			return t, err
		}
	}
}

// readHeader reads the start of a stream (RFC 6120 section 4.7), behind a
// declaration or none.
func (d *dialect) readHeader(s *dialogue.Session, x *xmppStream) (xmppToken, error) {
	for first := true; ; first = false {
		t, err := xmppRead(s, x)
		switch {
		case err != nil:
			return t, err
		case t.kind == xmppDeclaration && first:
		case t.kind == xmppText && t.blank:
		case t.kind == xmppStart && !t.empty:
			return t, d.checkHeader(t)
		default:
			return t, dialogue.ErrMalformed
		}
	}
}

// xmppNext reads the start of the next element, or the end of the stream. White
// space between elements keeps a connection alive (RFC 6120 section 4.6.1).
func xmppNext(s *dialogue.Session, x *xmppStream) (xmppToken, error) {
	for {
		t, err := xmppRead(s, x)
		switch {
		case err != nil:
			return t, err
		case t.kind == xmppText && t.blank:
		case t.kind == xmppEnd, t.kind == xmppStart && t.depth == 1:
			return t, nil
		default:
			return t, dialogue.ErrMalformed
		}
	}
}

// xmppSkip reads to the end of an element.
func xmppSkip(s *dialogue.Session, x *xmppStream, start xmppToken) error {
	for t := start; !start.empty && (t.kind != xmppEnd || t.depth > start.depth); {
		var err error
		if t, err = xmppRead(s, x); err != nil {
			return err
		}
	}
	return nil
}

// xmppClose reads to the end of an element that must have nothing in it.
func xmppClose(s *dialogue.Session, x *xmppStream, start xmppToken) error {
	if start.empty {
		return nil
	}
	t, err := xmppRead(s, x)
	if err == nil && t.kind != xmppEnd {
		err = dialogue.ErrMalformed
	}
	return err
}
