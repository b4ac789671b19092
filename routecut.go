package l4starttls

import "slices"

// A route can end in starttls, and a later one have the proxy. caddy-l4 has returned from
// starttls then, which cannot tell the client any more what becomes of its session.

// leave notes that a route is over, and so is the starttls in it.
func (s *stream) leave(r *routeNode) {
	h := s.starttls
	if h == nil || s.ended != nil {
		return
	}
	if at := slices.Index(r.handlers, h); at >= 0 {
		h.served = slices.ContainsFunc(r.handlers[at+1:], (*handlerNode).mayDial)
	}
	s.returned = union(s.returned, []*handlerNode{h})
}

// mayTake are those starttls whose connections may be meant for the route. Where they are
// served in the route of starttls, a matcher behind it is meant for others, such as those
// of another protocol.
func (r *routeNode) mayTake(returned []*handlerNode) (list []*handlerNode) {
	others := len(r.sets) > 0 && !usesUpgraded([]*routeNode{r})
	for _, h := range returned {
		if !others || !h.served {
			list = append(list, h)
		}
	}
	return list
}

// cutOff warns of a proxy that dials when starttls has returned.
func (c *routeCheck) cutOff(h *handlerNode, s *stream) {
	for _, starttls := range s.returned {
		if starttls.hasLastWords() {
			c.warn(starttls, h, "proxy behind the route of %s dials when %[2]s has returned: a client whose backend is down gets no error in its protocol "+
				"and no close_notify, and its session is logged late; put proxy in a subroute behind %[2]s, in the same route", starttls, starttls.name)
		}
	}
}

// hasLastWords reports whether the handler can tell a client that its backend is down: not
// inside TLS that it only passes through, and not in the backend's own plaintext.
func (h *handlerNode) hasLastWords() bool {
	return !h.dialsEarly() && (!h.Passthrough || h.Policy == "optional")
}

func union(a, b []*handlerNode) []*handlerNode {
	list := slices.Clone(a)
	for _, h := range b {
		if !slices.Contains(list, h) {
			list = append(list, h)
		}
	}
	return list
}
