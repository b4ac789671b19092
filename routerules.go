package l4starttls

import (
	"cmp"
	"strings"
)

// What is wrong with a handler, by what is known of the connections that come to it.

func (c *routeCheck) starttls(h *handlerNode, s stream) stream {
	reads := cmp.Or(s.waits, s.stalls)
	switch {
	case s.aside != nil:
		c.aside(h, s.aside)
	case s.upstream != nil:
		c.refuse(h, s.upstream, "starttls_upstream in front of starttls: put starttls in front of starttls_upstream")
	case s.header != nil:
		c.headerFirst(h, s.header)
	case s.tls != nil:
		c.refuse(h, s.tls, "%s in front of starttls: there would be TLS inside TLS; remove %[1]s, and use implicit_tls if clients may begin with TLS as well", s.tls)
	case s.asked != nil:
		c.refuse(h, s.asked, "%s in front of starttls grants the upgrade, so that starttls would wait for a request in vain; remove %[1]s", s.asked)
	case s.starttls != nil && s.sure:
		c.refuse(h, s.starttls, "starttls behind starttls: TLS is terminated once; remove one of them, and give the other all hostnames")
	case !h.serverFirst() || s.waits == "tls" && h.ImplicitTLS > 0:
	case reads != "":
		c.refuse(h, nil, "%s behind matcher %s, which waits for the client, while the client waits for the greeting: "+
			"give it a port of its own, or, in place of matcher tls, use implicit_tls", h, reads)
	}
	s.starttls, s.sure, s.tls = h, true, nil
	return s
}

func (c *routeCheck) aside(h, tee *handlerNode) {
	c.refuse(h, tee, "tee with %s in it in front of %s: it would dial before TLS; put tee behind %[2]s", tee.dialsAside(), h.name)
}

func (c *routeCheck) headerFirst(h, header *handlerNode) {
	c.refuse(h, header, "send_proxy_protocol in front of %s, which would take the header for what the client says: "+
		"put send_proxy_protocol behind %[1]s, in front of proxy", h.name)
}

func (c *routeCheck) upstream(h *handlerNode, behind []*handlerNode, s stream) stream {
	other := s.starttls
	switch {
	case s.aside != nil:
		c.aside(h, s.aside)
	case s.upstream != nil:
		c.refuse(h, s.upstream, "starttls_upstream behind starttls_upstream: an upstream is upgraded once; remove one of them")
	case s.header != nil:
		c.headerFirst(h, s.header)
	case h.Passthrough && (s.terminated() || s.tls != nil):
		c.refuse(h, cmp.Or(other, s.tls), "starttls_upstream with passthrough behind %s, which leaves no TLS to pass through: "+
			"remove passthrough, or have starttls pass through as well", cmp.Or(s.tls, other))
	case !h.Passthrough && s.passed():
		c.refuse(h, other, "starttls_upstream without passthrough behind %s with passthrough: there would be TLS inside TLS; use passthrough in both, or in neither", other)
	case h.Passthrough && other == nil && !s.unseen && h.proto != nil && h.proto.AnsweredInside: // else Upstream.misplaced sees it
		c.refuse(h, nil, "%s with passthrough has no starttls in front of it: the upstream would answer, inside TLS, a request that the client "+
			"has not made; put starttls with passthrough in front of it", h)
	case s.sure && other.Protocol != h.Protocol:
		c.refuse(h, other, "%s behind %s: one protocol does not become another; use the same in both", h, other)
	}
	c.somethingBehind(h, behind)
	s.upstream = h
	return s
}

// somethingBehind refuses a starttls_upstream without which nobody dials. Other routes come
// when it is over.
func (c *routeCheck) somethingBehind(h *handlerNode, behind []*handlerNode) {
	var names []string
	for _, next := range behind {
		if next.mayDial() {
			return
		}
		names = append(names, next.name)
		if knownHandlers[next.name].ends {
			break
		}
	}
	only := ""
	if len(names) > 0 {
		only = " that dials, only " + strings.Join(names, " and ")
	}
	c.refuse(h, nil, "%s has nothing behind it in its route%s: put proxy behind it there, or a subroute with proxy in it", h, only)
}

func (c *routeCheck) header(h *handlerNode, s stream) stream {
	switch {
	case s.header != nil:
		c.refuse(h, s.header, "send_proxy_protocol behind send_proxy_protocol: there would be two headers; remove one of them")
	case s.starttls != nil && s.sure && s.starttls.dialsEarly() && h.Version != "v1":
		c.warn(h, s.starttls, "send_proxy_protocol behind %s sends its header before the upgrade, and so without what is known of TLS: use v1 if that is meant", s.starttls)
	}
	s.header = h
	return s
}

func (c *routeCheck) tls(h *handlerNode, s stream) stream {
	switch {
	case s.unanswered():
		c.refuse(s.starttls, h, "%s behind %s with passthrough leaves the client without an answer to the request with which it has asked for TLS: "+
			"remove passthrough and %[1]s", h, s.starttls)
	case s.upstream != nil:
		c.refuse(s.upstream, h, "%s behind starttls_upstream: put %[1]s in front of it, where the clients are", h)
	case s.terminated():
		c.refuse(s.starttls, h, "%s behind starttls, which terminates TLS itself: remove %[1]s, or use passthrough to leave TLS to it", h)
	}
	if h.name == "tls" {
		s.tls = h
	} else {
		s.asked = h
	}
	return s
}

func (c *routeCheck) proxy(h *handlerNode, s *stream) {
	c.cutOff(h, s)
	if s.header != nil && h.ProxyProtocol != "" {
		c.refuse(s.header, h, "send_proxy_protocol with proxy_protocol of proxy: there would be two headers; remove one of them")
	}
	switch {
	case s.upstream != nil && h.originatesTLS():
		c.refuse(s.upstream, h, "proxy with tls behind starttls_upstream: there would be TLS inside TLS; "+
			"remove tls from proxy, or starttls_upstream if the upstream takes TLS from the first byte")
	case s.upstream == nil && s.unanswered() && s.starttls.Policy != "optional": // else it may be for those in plaintext
		c.refuse(s.starttls, h, "%s with passthrough goes straight to proxy, which leaves the client without an answer to the request with which it has asked for TLS: "+
			"put starttls_upstream with passthrough in front of proxy", s.starttls)
	case s.upstream == nil && s.passed() && !s.starttls.mayGoStraight():
		c.warn(s.starttls, h, "%s with passthrough goes straight to proxy: the backend must take a ClientHello as the first thing; "+
			"if it does not, put starttls_upstream with passthrough in front of proxy", s.starttls)
	}
}

// unanswered reports whether a client is owed an answer inside TLS that only a server which is
// asked for the upgrade as well can give.
func (s *stream) unanswered() bool {
	return s.passed() && s.starttls.proto != nil && s.starttls.proto.AnsweredInside
}

// mayGoStraight reports whether what goes to the backend as it is may be meant: that has no
// TLS, or the protocol knows TLS from the first byte at the same port, or it has ended with the
// upgrade.
func (h *handlerNode) mayGoStraight() bool {
	return h.Policy == "optional" || h.proto != nil && (h.proto.DirectALPN || h.proto.Tunnel)
}

func (h *handlerNode) originatesTLS() bool {
	for _, upstream := range h.Upstreams {
		if len(upstream.TLS) > 0 && string(upstream.TLS) != "null" {
			return true
		}
	}
	return false
}
