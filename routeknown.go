package l4starttls

import "slices"

// What a handler does with the connection. Those that are not listed may do anything, and
// are never the reason for an error.
type handlerRole struct {
	dials bool // it reaches an upstream
	ends  bool // nothing behind it is ever reached
}

var knownHandlers = map[string]handlerRole{
	"close":               {ends: true},
	"echo":                {ends: true},
	"postgres_tls":        {},
	"proxy":               {dials: true, ends: true},
	"proxy_protocol":      {},
	"send_proxy_protocol": {},
	"socks5":              {dials: true, ends: true},
	"starttls":            {},
	"starttls_upstream":   {},
	"subroute":            {},
	"tee":                 {},
	"throttle":            {},
	"tls":                 {},
	"vars":                {},
}

// readingMatchers wait until the client has said something. What `proxy_protocol` waits
// for comes from a load balancer, which says it at once.
var readingMatchers = []string{
	"dns", "http", "openvpn", "postgres", "quic", "rdp", "regexp", "socks4", "socks5", "ssh", "starttls", "tls",
	"winbox", "wireguard", "xmpp",
}

// ours reports whether a handler is one of this package.
func (h *handlerNode) ours() bool {
	return h.name == "starttls" || h.name == "starttls_upstream" || h.name == "send_proxy_protocol"
}

// mayDial reports whether the handler may reach an upstream, on behalf of who is in front.
func (h *handlerNode) mayDial() bool {
	role, known := knownHandlers[h.name]
	switch {
	case !known, role.dials, slices.ContainsFunc(h.branch, (*handlerNode).mayDial):
		return true
	case h.name != "subroute":
		return false
	}
	return slices.ContainsFunc(h.routes, func(r *routeNode) bool { return slices.ContainsFunc(r.handlers, (*handlerNode).mayDial) })
}

// dialsAside is what dials in a branch of a tee.
func (h *handlerNode) dialsAside() *handlerNode {
	for _, below := range h.branch {
		if knownHandlers[below.name].dials {
			return below
		}
	}
	return nil
}

// reads is the name of a matcher in the set that waits for the client, if all of them do.
// Of others in the set it is not known which comes first.
func (s matcherSet) reads() string {
	name := ""
	for _, m := range s {
		if name = m.reads(); name == "" {
			return ""
		}
	}
	return name
}

// waits is the name of a matcher that has to see something of the client before the set
// can match.
func (s matcherSet) waits() string {
	for _, m := range s {
		if name := m.reads(); name != "" {
			return name
		}
	}
	return ""
}

func (m matcherNode) reads() string {
	if slices.Contains(readingMatchers, m.name) {
		return m.name
	}
	for _, set := range m.negate {
		if name := set.reads(); name != "" {
			return name
		}
	}
	return ""
}

// all are the matchers of the set, and those that are negated in it.
func (s matcherSet) all() (all []matcherNode) {
	for _, m := range s {
		all = append(all, m)
		for _, set := range m.negate {
			all = append(all, set.all()...)
		}
	}
	return all
}

// waits is the name of a matcher that has to see something of the client before the route
// can match.
func (r *routeNode) waits() string {
	name := ""
	for _, set := range r.sets {
		if name = set.waits(); name == "" {
			return ""
		}
	}
	return name
}

// stalls is the name of a matcher that keeps a silent client from all routes behind.
func (r *routeNode) stalls() string {
	for _, set := range r.sets {
		if name := set.reads(); name != "" {
			return name
		}
	}
	return ""
}

func (h *handlerNode) serverFirst() bool { return h.proto != nil && h.proto.ServerFirst }
func (h *handlerNode) dialsEarly() bool  { return h.proto != nil && h.proto.EarlyDial }
