package l4starttls

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// A stream is what is known of all connections at one place in the routes. What is not
// known is nil.
type stream struct {
	starttls  *handlerNode   // that has run
	sure      bool           // on all of them
	tls       *handlerNode   // that has terminated TLS
	asked     *handlerNode   // that has granted the upgrade, postgres_tls
	header    *handlerNode   // that sends a PROXY header
	upstream  *handlerNode   // in whose connection to the upstream this is
	aside     *handlerNode   // that dials beside
	ended     *handlerNode   // that has taken them
	returned  []*handlerNode // the starttls that have returned by now, on some of them
	waits     string         // the matcher in front that had to see something of the client
	stalls    string         // the matcher that keeps silent clients waiting
	unseen    bool           // something in front may have done anything
	undecided bool           // a route in front reads, so that those without matchers come last
}

// terminated reports whether it is certain that starttls, or tls behind it, has terminated
// TLS.
func (s *stream) terminated() bool {
	return s.starttls != nil && s.sure && (!s.starttls.Passthrough || s.tls != nil)
}

// passed reports whether it is certain that starttls has left TLS to be terminated.
func (s *stream) passed() bool {
	return s.starttls != nil && s.sure && s.starttls.Passthrough && s.tls == nil
}

// pass notes what it means to be behind a route.
func (s *stream) pass(r *routeNode) {
	s.stalls = cmp.Or(s.stalls, r.stalls())
	s.undecided = s.undecided || slices.ContainsFunc(r.sets, func(set matcherSet) bool { return set.waits() != "" })
}

// orElse is what is known of connections of which some are as s has it, and the others as
// other has it.
func (s stream) orElse(other stream) stream {
	if other.ended != nil {
		return s
	}
	both := s
	both.sure = s.sure && other.sure && s.starttls == other.starttls
	both.starttls = cmp.Or(s.starttls, other.starttls)
	both.tls, both.asked = same(s.tls, other.tls), same(s.asked, other.asked)
	both.header, both.aside = same(s.header, other.header), same(s.aside, other.aside)
	both.unseen = s.unseen || other.unseen
	both.returned = union(s.returned, other.returned)
	return both
}

func same(a, b *handlerNode) *handlerNode {
	if a == b {
		return a
	}
	return nil
}

// routes goes through routes as connections do.
func (c *routeCheck) routes(list []*routeNode, in stream) stream {
	s := in
	for i, r := range list {
		if s.ended != nil {
			c.unreachable(r, &s)
			continue
		}
		c.matchers(r, list[i:], &s)
		inner := s
		inner.waits = cmp.Or(r.waits(), s.waits)
		inner.returned = r.mayTake(s.returned)
		after := c.chain(r.handlers, inner)
		after.upstream, after.waits = s.upstream, s.waits
		if after.starttls != s.starttls {
			after.leave(r)
		}
		if len(r.sets) > 0 {
			after = s.orElse(after)
		}
		s = after
		s.pass(r)
	}
	s.stalls, s.undecided = in.stalls, in.undecided
	return s
}

// chain goes through the handlers of a route.
func (c *routeCheck) chain(handlers []*handlerNode, s stream) stream {
	for i, h := range handlers {
		if s.ended == nil {
			s = c.handler(h, handlers[i+1:], s)
			continue
		}
		if h := firstOfOurs(handlers[i:]); h != nil {
			c.refuse(h, s.ended, "%s is never reached, because %s in front of it takes the connection: put %s in front of %s",
				h, s.ended, h.name, s.ended)
		}
		break
	}
	return s
}

func (c *routeCheck) handler(h *handlerNode, behind []*handlerNode, s stream) stream {
	role, known := knownHandlers[h.name]
	switch h.name {
	case "starttls":
		return c.starttls(h, s)
	case "starttls_upstream":
		return c.upstream(h, behind, s)
	case "send_proxy_protocol":
		return c.header(h, s)
	case "tls", "postgres_tls":
		return c.tls(h, s)
	case "subroute":
		return c.routes(h.routes, s)
	case "proxy":
		c.proxy(h, &s)
	case "tee":
		if h.dialsAside() != nil {
			s.aside = h
		}
	}
	if !known {
		return stream{unseen: true} // it may be anything now
	}
	if role.ends {
		s.ended = h
	}
	return s
}

// unreachable refuses what is of ours in a route behind one that takes every connection.
// caddy-l4 leaves such a route until those in front of it are decided, and goes on with
// those behind it meanwhile.
func (c *routeCheck) unreachable(r *routeNode, s *stream) {
	h := firstOfOurs(r.handlers)
	if h == nil || s.undecided && len(r.sets) > 0 {
		return
	}
	instead := "put a matcher on that route, or this one in front of it"
	if h.serverFirst() {
		instead = "a server that speaks first cannot share a port with others; give it one of its own"
	}
	c.refuse(h, s.ended, "%s is never reached, because the route in front of it takes every connection: %s", h, instead)
}

// matchers checks those of a route, behind which others come.
func (c *routeCheck) matchers(r *routeNode, list []*routeNode, s *stream) {
	if s.starttls == nil {
		return
	}
	for _, set := range r.sets {
		for _, m := range set.all() {
			c.matcher(m, list, s)
		}
	}
}

// tooEarly is said of what asks for TLS where there is none yet.
const tooEarly = "matcher %s behind %s never matches, because the route is chosen before the upgrade: route by port or by address"

func (c *routeCheck) matcher(m matcherNode, list []*routeNode, s *stream) {
	h := s.starttls
	switch {
	case m.name == "upgraded":
		c.upgradedMatcher(m, s)
	case m.name == "tls" && s.terminated() && h.dialsEarly():
		c.refuse(h, nil, tooEarly, m.name, h)
	case m.name == "tls" && s.terminated():
		c.refuse(h, nil, "matcher tls behind %s never matches, because TLS is terminated there: use upgraded%s in its place", h, m.insides())
	case m.name == "tls" && !s.sure && !h.Passthrough && !h.served && !usesUpgraded(list):
		c.warn(h, nil, "matcher tls behind %s does not match what was upgraded: use upgraded%s for that", h, m.insides())
	case m.reads() != "" && s.terminated() && h.serverFirst():
		c.refuse(h, nil, "matcher %s behind %s waits for a client that may wait for the server: use upgraded, which reads nothing", m.name, h)
	}
}

func (c *routeCheck) upgradedMatcher(m matcherNode, s *stream) {
	h := s.starttls
	switch {
	case s.passed():
		c.refuse(h, nil, "matcher upgraded behind %s with passthrough never matches, because TLS is not terminated: use tls%s in its place", h, m.insides())
	case s.sure && h.dialsEarly():
		c.warn(h, nil, tooEarly, m.name, h)
	}
}

// insides are the names of the TLS matchers in a matcher.
func (m matcherNode) insides() string {
	var inside caddy.ModuleMap
	if json.Unmarshal(m.raw, &inside) != nil || len(inside) == 0 {
		return ""
	}
	return " " + strings.Join(slices.Sorted(maps.Keys(inside)), " and ")
}

func usesUpgraded(list []*routeNode) bool {
	return slices.ContainsFunc(list, func(r *routeNode) bool {
		return slices.ContainsFunc(r.sets, func(set matcherSet) bool {
			return slices.ContainsFunc(set.all(), func(m matcherNode) bool { return m.name == "upgraded" })
		})
	})
}
