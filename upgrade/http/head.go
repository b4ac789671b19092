package http

import (
	"slices"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// asksForTLS reports whether a request asks for the upgrade: in HTTP/1.1 alone, and in a field
// that Connection names (RFC 9110 section 7.8).
func asksForTLS(r *dialogue.HTTPRequest) bool {
	return r.Minor == '1' && slices.ContainsFunc(r.List("Upgrade"), isTLS) && slices.ContainsFunc(r.List("Connection"), isUpgrade)
}

// isProbe reports whether a request is there for the upgrade alone.
func isProbe(r *dialogue.HTTPRequest) bool { return r.Method == "OPTIONS" && r.Target == "*" }

// isSafe reports whether a request changes nothing, if it is of a method that may be upgraded.
func isSafe(r *dialogue.HTTPRequest) bool {
	return r.Method == "OPTIONS" || r.Method == "GET" || r.Method == "HEAD"
}

// hasLogin reports whether a request has a password, or what is as good as one.
func hasLogin(r *dialogue.HTTPRequest) bool { return r.Has("Authorization", "Proxy-Authorization") }

// isTLS reports whether an upgrade is to TLS, of any version.
func isTLS(protocol string) bool {
	const tls = "TLS/"
	return len(protocol) > len(tls) && dialogue.EqualASCII(protocol[:len(tls)], tls) ||
		dialogue.EqualASCII(protocol, tls[:len(tls)-1])
}

func isUpgrade(option string) bool { return dialogue.EqualASCII(option, "upgrade") }

// without returns the elements that are not of a kind.
func without(elements []string, of func(string) bool) []string {
	return slices.DeleteFunc(slices.Clone(elements), of)
}

func requestLine(r *dialogue.HTTPRequest) string {
	return r.Method + " " + r.Target + " HTTP/1." + string(r.Minor)
}

// match knows a client by its whole first request: one that asks for TLS, and that may be
// upgraded. All others may be meant for whoever shares the port.
func match(prefix []byte) dialogue.Verdict {
	methods := []string{"OPTIONS ", "GET ", "HEAD "}
	if !slices.ContainsFunc(methods, func(m string) bool { return dialogue.MatchLiteral(prefix, []byte(m)) != dialogue.NoMatch }) {
		return dialogue.NoMatch
	}
	r, size, err := dialogue.CutHTTPRequest(prefix)
	if err != nil {
		return dialogue.NoMatch
	}
	if size == 0 {
		return dialogue.NeedMore
	}
	length, chunked, err := r.Body(r.Minor)
	if err != nil || length > 0 || chunked || !asksForTLS(r) {
		return dialogue.NoMatch
	}
	return dialogue.Matched
}
