// Package connect is CONNECT of HTTP/1.1 for the package upgrade: the tunnel of a proxy, in
// which TLS begins.
package connect

import (
	"errors"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Protocol is CONNECT, RFC 9110 section 9.3.6:
//
//	C: CONNECT origin.example.com:443 HTTP/1.1
//	C: Host: origin.example.com:443
//	C:
//	S: HTTP/1.1 200 Connection established
//	S:
//	   TLS, and inside of it any protocol
//
// A server is no proxy: the tunnel ends here, and what the client names is compared with what
// is served, and never dialled. So 200 means that TLS may begin, and not that a backend is there:
// that is dialled behind the handshake, as in all protocols, and one that is down ends the
// connection inside TLS, with close_notify and without a word. There is no 502 or 504 for that. A client
// asks a proxy for a tunnel to the server that it does TLS with.
var Protocol = &dialogue.Protocol{
	Name:    "connect",
	Aliases: []string{"proxy", "http-connect", "http_connect", "httpconnect", "tunnel", "squid"},
	Port:    3128,
	Facts: dialogue.Facts{
		Ports: "3128, 8080", Upgrade: "`CONNECT`", Document: "RFC 9110 section 9.3.6",
	},
	MaxLine:   dialogue.MaxFiltered,
	Tunnel:    true,
	AlwaysTLS: true, // a tunnel without TLS might lead anywhere
	Options: []dialogue.Option{
		{Name: targetsOption, Server: true, Check: checkTargets,
			Usage: "hosts with ports that clients may ask for, such as \"a.example.com:443 *.example.org:25\"; by default the hostnames, with any port"},
		{Name: targetOption, Client: true, Check: checkTarget,
			Usage: "the host and port to ask the proxy for; by default the name in the certificate, with port 443"},
		{Name: authOption, Client: true, Check: checkAuth, Conceal: conceal,
			Usage: "user:password for the proxy, by Basic authentication"},
	},
	Match:      match,
	Accept:     accept,
	Request:    request,
	ErrorReply: errorReply,

	Reject: reject,
}

const (
	targetsOption = "targets"
	targetOption  = "target"
	authOption    = "proxy_auth"
)

// accept hears one request, and no other behind one that is refused: what follows it may be
// meant for the tunnel. A password for a proxy is none of ours, and is not looked at.
func accept(s *dialogue.Session) error {
	r, err := s.ReadHTTPRequest()
	if err != nil {
		return err
	}
	t, ok := parseTarget(r.Target)
	switch {
	case r.Method != "CONNECT":
		return dialogue.ErrPlaintext
	case !ok, strings.Contains(t.host, "*"), r.Has("Content-Length", "Transfer-Encoding"): // which a tunnel does not have
		return dialogue.ErrMalformed
	case !serves(s, t):
		return dialogue.ErrRefused
	}
	if !s.TLSAvailable() {
		if s.TooManyUpgrades() {
			return errors.Join(s.Send(dialogue.HTTPErrorReply(dialogue.ErrTooManyUpgrades)), dialogue.ErrQuit)
		}
		unavailable := dialogue.HTTPReply("503 Service Unavailable", "TLS is not available for now", "Connection: close")
		return errors.Join(s.Send(unavailable), dialogue.ErrQuit)
	}
	s.SetServerName(t.host)
	return s.GoAhead("HTTP/1.1 200 Connection established", "")
}

// serves reports whether a client may ask for a target.
func serves(s *dialogue.Session, t target) bool {
	if list := strings.Fields(s.Option(targetsOption)); len(list) > 0 {
		for _, each := range list {
			if allowed, ok := parseTarget(each); ok && t.port == allowed.port && t.isOf(allowed.host) {
				return true
			}
		}
		return false
	}
	for _, name := range s.Hostnames() {
		if t.isOf(name) {
			return true
		}
	}
	return false
}

// request asks for the tunnel. Whatever the proxy says in place of it is the proxy's, and is
// quoted for a log alone.
func request(s *dialogue.Session) error {
	where := s.Option(targetOption)
	if where == "" {
		if s.PeerName() == "" {
			return errors.New("option \"target\" is needed where there is no server name")
		}
		where = target{s.PeerName(), "443"}.String()
	}
	ask := dialogue.HTTPFields{{Name: "Host", Value: where}}
	if auth := s.Option(authOption); auth != "" {
		ask = append(ask, dialogue.HTTPField{Name: "Proxy-Authorization", Value: "Basic " + encode(auth)})
	}
	if err := s.Send(ask.Head("CONNECT " + where + " HTTP/1.1")); err != nil {
		return err
	}
	r, err := s.ReadHTTPResponse()
	switch {
	case err != nil:
		return err
	case r.Status == 101:
		return dialogue.ErrMalformed
	case r.Status < 300: // of which a length says nothing
		return nil
	case r.Status == 405, r.Status == 501: // no proxy
		return dialogue.Refusal(dialogue.ErrNotOffered, r.Line)
	}
	return dialogue.Refusal(dialogue.ErrRefused, r.Line)
}

func errorReply(_ *dialogue.Session, why error) []byte {
	switch {
	case errors.Is(why, dialogue.ErrPlaintext):
		return dialogue.HTTPReply("405 Method Not Allowed", "This is a tunnel to a server with TLS", "Allow: CONNECT", "Connection: close")
	case errors.Is(why, dialogue.ErrRefused):
		return dialogue.HTTPReply("403 Forbidden", "This target is not served here", "Connection: close")
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

func match(prefix []byte) dialogue.Verdict { return dialogue.MatchLiteral(prefix, []byte("CONNECT ")) }
