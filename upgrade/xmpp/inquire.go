package xmpp

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// inquire opens the stream that comes inside TLS (RFC 6120 section 5.4.3.3), and reads what
// features are offered there, and by which mechanisms a client can log in.
func (d *dialect) inquire(s *dialogue.Session, _ bool) (features []string, err error) {
	if err := s.Send([]byte(d.question(s))); err != nil {
		return nil, err
	}
	x := new(xmppStream)
	if _, err := d.readHeader(s, x); err != nil {
		return nil, err
	}
	first, err := xmppNext(s, x)
	if err != nil {
		return nil, err
	}
	if first.kind != xmppStart || !first.is(xmppStreams, "features") {
		return nil, xmppNoConsent(first)
	}
	for t := first; !first.empty && (t.kind != xmppEnd || t.depth > first.depth); {
		if t, err = xmppRead(s, x); err != nil {
			return nil, err
		}
		if t.kind == xmppStart && t.depth == 2 {
			features = append(features, t.name.Local)
		}
	}
	return features, nil
}
