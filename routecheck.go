package l4starttls

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"weak"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"
)

// A route is checked when a handler of ours in it is provisioned. caddy-l4 forgets the JSON
// of a route's matchers once they are loaded, and that of its handlers once the last of
// them is. So the routes behind are there as they were written, and of the routes in front
// there are only the types of their matchers; but none of them was the first of ours.

// checkedRoute is the route that was checked last. Handlers are provisioned in order.
var checkedRoute struct {
	sync.Mutex
	route weak.Pointer[layer4.Route]
}

// checkRoute checks the route in which a module is provisioned, and what it leads to.
func checkRoute(ctx caddy.Context, logger *zap.Logger) error {
	site := findRoute(ctx)
	if site == nil || !site.isNew() {
		return nil
	}
	c := &routeCheck{top: site.index}
	err := errors.Join(site.checkListeners(), c.run(site))
	for _, warning := range c.warnings {
		logger.Warn(warning)
	}
	return err
}

// A routeSite is where a route stands.
type routeSite struct {
	list   layer4.RouteList
	index  int
	path   string // of the list
	listen []string
}

// findRoute finds the route that is being provisioned. It is nil where that cannot be
// told: what is wrong is found with the first connection then.
func findRoute(ctx caddy.Context) *routeSite {
	for _, module := range ctx.Modules() {
		switch m := module.(type) {
		case *layer4.ListenerWrapper:
			return newRouteSite(m.Routes, "listener_wrappers/layer4/routes", nil)
		case *layer4.App:
			for name, server := range m.Servers {
				if beingProvisioned(server) {
					return newRouteSite(server.Routes, "apps/layer4/servers/"+name+"/routes", server.Listen)
				}
			}
		}
	}
	return nil
}

// beingProvisioned reports whether a server has been begun with and is not ready.
func beingProvisioned(server *layer4.Server) bool {
	fields := reflect.ValueOf(server).Elem()
	logger, compiled := fields.FieldByName("logger"), fields.FieldByName("compiledRoute")
	return logger.Kind() == reflect.Pointer && compiled.Kind() == reflect.Interface && !logger.IsNil() && compiled.IsNil()
}

func newRouteSite(list layer4.RouteList, path string, listen []string) *routeSite {
	for i, route := range list {
		if len(route.HandlersRaw) > 0 {
			return &routeSite{list: list, index: i, path: path, listen: listen}
		}
	}
	return nil
}

// isNew reports whether another handler in the route has not had it checked already.
func (s *routeSite) isNew() bool {
	checkedRoute.Lock()
	defer checkedRoute.Unlock()
	this := weak.Make(s.list[s.index])
	known := checkedRoute.route == this
	checkedRoute.route = this
	return !known
}

// checkListeners refuses what has no streams.
func (s *routeSite) checkListeners() error {
	repl := caddy.NewReplacer()
	for _, listen := range s.listen {
		address, err := caddy.ParseNetworkAddress(repl.ReplaceAll(listen, ""))
		if err == nil && isPacketNetwork(address.Network) {
			h := firstOfOurs(parseRoute(s.list[s.index], fmt.Sprintf("%s/%d", s.path, s.index)).handlers)
			return placed(fmt.Errorf("%s on %s: it needs a stream, and datagrams are none; listen on TCP", h, listen), h.place())
		}
	}
	return nil
}

func isPacketNetwork(network string) bool {
	return strings.HasPrefix(network, "udp") || strings.HasPrefix(network, "ip") || network == "unixgram" || network == "fdgram"
}

// firstOfOurs finds the first handler of ours, in subroutes as well.
func firstOfOurs(handlers []*handlerNode) *handlerNode {
	for _, h := range handlers {
		if h.ours() {
			return h
		}
		below := h.branch
		for _, route := range h.routes {
			below = append(below, route.handlers...)
		}
		if found := firstOfOurs(below); found != nil {
			return found
		}
	}
	return nil
}

// A routeCheck collects what is wrong with one route of a server, and with what other
// routes make of it.
type routeCheck struct {
	top      int
	err      error // the first
	warnings []string
}

// run goes through the route and those behind it. What of those has to do with this route
// alone, and not with them, is found when it is their turn.
func (c *routeCheck) run(site *routeSite) error {
	var routes []*routeNode
	var in stream
	for i, route := range site.list {
		node := parseRoute(route, fmt.Sprintf("%s/%d", site.path, i))
		node.setTop(i)
		if i >= site.index {
			routes = append(routes, node)
			continue
		}
		in.pass(node)
		in.unseen = true // its handlers are forgotten
	}
	c.routes(routes, in)
	return c.err
}

// refuse notes an error of a handler, with what makes it one, if there is such a thing.
func (c *routeCheck) refuse(h, other *handlerNode, format string, args ...any) {
	if c.err == nil && c.concerns(h, other) {
		c.err = placed(fmt.Errorf(format, args...), h.place())
	}
}

// warn notes what may be meant.
func (c *routeCheck) warn(h, other *handlerNode, format string, args ...any) {
	warning := placed(fmt.Errorf(format, args...), h.place()).Error()
	if c.concerns(h, other) && !slices.Contains(c.warnings, warning) {
		c.warnings = append(c.warnings, warning)
	}
}

func (c *routeCheck) concerns(h, other *handlerNode) bool {
	return h.top == c.top || other != nil && other.top == c.top
}
