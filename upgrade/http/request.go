package http

import (
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// request asks with a request that means nothing else. A server that does not know the upgrade
// answers it in plaintext, with whatever status. CUPS has no Upgrade in the Connection of its
// consent, so that is not looked at.
func request(s *dialogue.Session) error {
	ask := dialogue.HTTPFields{
		{Name: "Host", Value: s.PeerName()}, {Name: "Connection", Value: "Upgrade"}, {Name: "Upgrade", Value: "TLS/1.0"},
	}
	if err := s.Send(ask.Head("OPTIONS * HTTP/1.1")); err != nil {
		return err
	}
	r, err := s.ReadHTTPResponse()
	switch {
	case err != nil:
		return err
	case r.Status == 101:
		return consent(r)
	}
	return noConsent(s, r)
}

// consent checks a 101. What else it switches to is what is spoken inside TLS.
func consent(r *dialogue.HTTPResponse) error {
	protocols := r.List("Upgrade")
	length, chunked, err := r.Body(r.Minor)
	switch {
	case err != nil, length > 0, chunked, r.Minor != '1', len(protocols) == 0, !isTLS(protocols[0]):
		return dialogue.ErrMalformed
	}
	return nil
}

// noConsent says what another answer means. One that offers TLS all the same, or is about the
// server and not about the request, is no lack of the upgrade. Where that may be done without,
// the answer is heard to its end.
func noConsent(s *dialogue.Session, r *dialogue.HTTPResponse) error {
	offered := r.Status == 426 || r.Status == 429 || slices.ContainsFunc(r.List("Upgrade"), isTLS)
	if offered || r.Status >= 500 && r.Status != 501 {
		return dialogue.Refusal(dialogue.ErrRefused, r.Line)
	}
	if !s.Optional() {
		return dialogue.Refusal(dialogue.ErrNotOffered, r.Line)
	}
	if closes(r) {
		return dialogue.Refusal(dialogue.ErrRefused, r.Line) // there is no next request
	}
	if err := s.SkipHTTPBody(r); err != nil {
		return err
	}
	return dialogue.Refusal(dialogue.ErrNotOffered, r.Line)
}

// settle hears the answer to the request inside TLS, whatever it is. A server that closes the
// connection behind it cannot be used.
func settle(s *dialogue.Session) error {
	r, err := s.ReadHTTPResponse()
	switch {
	case err != nil:
		return err
	case r.Status == 101:
		return dialogue.ErrMalformed
	case closes(r):
		return dialogue.Refusal(dialogue.ErrRefused, r.Line)
	}
	return s.SkipHTTPBody(r)
}

// closes reports whether the server closes the connection behind a response (RFC 9112 section 9.3).
func closes(r *dialogue.HTTPResponse) bool {
	is := func(option string) func(string) bool {
		return func(o string) bool { return dialogue.EqualASCII(o, option) }
	}
	options := r.List("Connection")
	return slices.ContainsFunc(options, is("close")) || r.Minor == '0' && !slices.ContainsFunc(options, is("keep-alive"))
}
