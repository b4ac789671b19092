// Package http is HTTP/1.1 for the package upgrade, with the upgrade to TLS of RFC 2817, and
// what stands between its clients and servers then.
package http

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is HTTP/1.1 with the upgrade of RFC 2817, which CUPS speaks:
//
//	C: OPTIONS * HTTP/1.1
//	C: Host: print.example.com:631
//	C: Connection: Upgrade
//	C: Upgrade: TLS/1.2,TLS/1.1,TLS/1.0
//	C:
//	S: HTTP/1.1 101 Switching Protocols
//	S: Connection: Upgrade
//	S: Upgrade: TLS/1.0, HTTP/1.1
//	S:
//	   TLS
//	S: HTTP/1.1 200 OK                       the answer to the request that came in plaintext
//	S: Content-Length: 0
//	S:
//
// That request may be anybody's, so nothing of it gets inside TLS where the upgrade is
// required: OPTIONS * is the only one that is granted the upgrade there, and is answered here. Others
// are answered with 426. Where plaintext is allowed, GET, HEAD and OPTIONS may be upgraded,
// and the backend answers them inside TLS, unless TLS is only passed through to it. Then it is asked
// for the upgrade with OPTIONS *, too, and has no other answer.
var Protocol = &dialogue.Protocol{
	Name:    "http",
	Aliases: []string{"https", "http/1.1", "ipp", "ipps", "cups", "web", "rfc2817"},
	Port:    80,
	Facts: dialogue.Facts{
		Ports: "80, 631", Upgrade: "`Upgrade: TLS/1.0`", Document: "RFC 2817",
	},
	ALPN:           []string{"http/1.1"},
	MaxLine:        dialogue.MaxFiltered,
	Match:          match,
	Accept:         accept,
	AnsweredInside: true,
	Request:        request,
	Settle:         settle,
	Resume:         dialogue.ResumesAtOnce,
	ErrorReply:     errorReply,
	Join:           newFilter,

	Reject: reject,

	ImplicitPort: 443,
}

const (
	switching = "HTTP/1.1 101 Switching Protocols"
	upgradeTo = "Upgrade: TLS/1.0, HTTP/1.1"
)

// accept hears one request. One that cannot be upgraded as it is, or does not ask for that, is
// the backend's, if it may be.
func accept(s *dialogue.Session) error {
	r, err := s.ReadHTTPRequest()
	if err != nil {
		return err
	}
	length, chunked, err := r.Body(r.Minor)
	switch {
	case err != nil:
		return err
	case hasLogin(r) && !s.PlaintextAuth():
		return errors.Join(s.RefuseLogin(nil), dialogue.ErrPlaintext)
	case !asksForTLS(r):
		return stay(s)
	case length > 0 || chunked:
		return dialogue.ErrPlaintext // a body would stand between the request and TLS
	case isProbe(r) || s.Optional() && s.AnsweredInside() && isSafe(r):
		return grant(s, r)
	}
	return stay(s)
}

// stay is for a request in plaintext.
func stay(s *dialogue.Session) error {
	if !s.Optional() {
		return dialogue.ErrPlaintext
	}
	return s.SendNeedsBackend(false, nil)
}

// grant answers OPTIONS * itself, inside TLS: it may have come from anybody, and asks for
// nothing else. Another request is kept for whoever answers it.
func grant(s *dialogue.Session, r *dialogue.HTTPRequest) error {
	if !s.TLSAvailable() {
		switch {
		case s.TooManyUpgrades():
			return errors.Join(s.Send(errorReply(s, dialogue.ErrTooManyUpgrades)), dialogue.ErrQuit)
		case s.Optional():
			return stay(s) // a server may take no notice of Upgrade (RFC 9110 section 7.8)
		}
		return errors.Join(s.Send(dialogue.HTTPReply("503 Service Unavailable", "TLS is not available for now", "Connection: close")), dialogue.ErrQuit)
	}
	s.SetServerName(hostname(r.Get("Host")))
	if isProbe(r) {
		s.AnswerInside(dialogue.HTTPReply("200 OK", ""))
	} else if err := s.Keep(inside(r)); err != nil {
		return err
	}
	return s.GoAhead(switching, "Connection: Upgrade", upgradeTo, "")
}

// inside is a request as it is asked inside TLS: without any upgrade.
func inside(r *dialogue.HTTPRequest) []byte {
	fields := r.WithList("Upgrade", nil)
	return fields.WithList("Connection", without(fields.List("Connection"), isUpgrade)).Head(requestLine(r))
}

// hostname is that of a Host field, without a port.
func hostname(host string) string {
	if name, _, isAddress := strings.Cut(strings.TrimPrefix(host, "["), "]"); isAddress {
		return name
	}
	name, _, _ := strings.Cut(host, ":")
	return name
}

// errorReply has 426 for what is refused in plaintext. It says how to do better (RFC 2817
// section 4.2).
func errorReply(_ *dialogue.Session, why error) []byte {
	if errors.Is(why, dialogue.ErrPlaintext) {
		return dialogue.HTTPReply("426 Upgrade Required", "This service requires TLS", "Connection: close, Upgrade", upgradeTo)
	}
	return dialogue.HTTPErrorReply(why)
}

// reject waits for a request: an answer to none is no answer to many a client.
func reject(s *dialogue.Session, why error) error {
	if _, err := s.ReadHTTPRequest(); err != nil {
		return err
	}
	return why
}
