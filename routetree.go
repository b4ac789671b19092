package l4starttls

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A routeNode is a route as its configuration has it, for what is checked of routes.
type routeNode struct {
	sets     []matcherSet // one of them has to match; none match all
	handlers []*handlerNode
	top      int // the route of the server that it is, or is in
}

// A matcherSet has matchers that all have to match.
type matcherSet []matcherNode

// A matcherNode is a matcher. Of those that have been loaded no more is left than their
// types, so that raw may be nil.
type matcherNode struct {
	name   string
	raw    json.RawMessage
	negate []matcherSet // what `not` has in it
}

// A handlerNode is a handler. Of those that nobody here knows no more is read than the name.
type handlerNode struct {
	handlerConfig
	name   string
	path   string // in the configuration
	proto  *upgrade.Protocol
	routes []*routeNode   // of a subroute
	branch []*handlerNode // of a tee
	top    int
	served bool // of a starttls: something behind it in its route dials for some connections
}

// A handlerConfig is what is read of those that are known.
type handlerConfig struct {
	Source        string            `json:"source"`
	Protocol      string            `json:"protocol"`
	Policy        string            `json:"policy"`
	Passthrough   bool              `json:"passthrough"`
	ImplicitTLS   caddy.Duration    `json:"implicit_tls"`
	Version       string            `json:"version"`
	ProxyProtocol string            `json:"proxy_protocol"`
	Routes        layer4.RouteList  `json:"routes"`
	Branch        []json.RawMessage `json:"branch"`
	Upstreams     []struct {
		TLS json.RawMessage `json:"tls"`
	} `json:"upstreams"`
}

// place is where the handler is, for people.
func (h *handlerNode) place() string {
	if h.Source != "" {
		return h.Source
	}
	return h.path
}

// String names the handler, and its protocol.
func (h *handlerNode) String() string { return strings.TrimSpace(h.name + " " + h.Protocol) }

func parseRoutes(list layer4.RouteList, path string) (routes []*routeNode) {
	for i, route := range list {
		routes = append(routes, parseRoute(route, fmt.Sprintf("%s/%d", path, i)))
	}
	return routes
}

func parseRoute(route *layer4.Route, path string) *routeNode {
	node := &routeNode{handlers: parseHandlers(route.HandlersRaw, path+"/handle")}
	if node.sets = parseSets(route.MatcherSetsRaw); node.sets == nil {
		node.sets = loadedSets(reflect.ValueOf(route).Elem().FieldByName("matcherSets"))
	}
	return node
}

// setTop notes which of a server's routes all this is in.
func (r *routeNode) setTop(top int) {
	r.top = top
	for _, h := range r.handlers {
		h.setTop(top)
	}
}

func (h *handlerNode) setTop(top int) {
	h.top = top
	for _, route := range h.routes {
		route.setTop(top)
	}
	for _, below := range h.branch {
		below.setTop(top)
	}
}

func parseHandlers(list []json.RawMessage, path string) (handlers []*handlerNode) {
	for i, raw := range list {
		handlers = append(handlers, parseHandler(raw, fmt.Sprintf("%s/%d", path, i)))
	}
	return handlers
}

// parseHandler leaves it to the modules to complain of what cannot be read.
func parseHandler(raw json.RawMessage, path string) *handlerNode {
	node := &handlerNode{path: path}
	var inline struct{ Handler string }
	_ = json.Unmarshal(raw, &inline)
	node.name = inline.Handler
	if _, ok := knownHandlers[node.name]; !ok {
		return node
	}
	_ = json.Unmarshal(raw, &node.handlerConfig)
	node.Protocol = caddy.NewReplacer().ReplaceAll(node.Protocol, "")
	node.proto, _ = upgrade.Lookup(node.Protocol)
	node.routes = parseRoutes(node.Routes, path+"/routes")
	node.branch = parseHandlers(node.Branch, path+"/branch")
	return node
}

func parseSets(list []caddy.ModuleMap) (sets []matcherSet) {
	for _, modules := range list {
		var set matcherSet
		for name, raw := range modules {
			m := matcherNode{name: name, raw: raw}
			if name == "not" {
				var inner []caddy.ModuleMap
				_ = json.Unmarshal(raw, &inner)
				m.negate = parseSets(inner)
			}
			set = append(set, m)
		}
		slices.SortFunc(set, func(a, b matcherNode) int { return strings.Compare(a.name, b.name) })
		sets = append(sets, set)
	}
	return sets
}

// loadedSets finds out which matchers a route or a `not` has that have been loaded:
// caddy-l4 keeps those to itself, and their JSON is gone.
func loadedSets(field reflect.Value) (sets []matcherSet) {
	if field.Kind() != reflect.Slice {
		return nil
	}
	for i := range field.Len() {
		set := matcherSet{}
		for j := range field.Index(i).Len() {
			set = append(set, loadedMatcher(field.Index(i).Index(j).Elem()))
		}
		sets = append(sets, set)
	}
	return sets
}

func loadedMatcher(value reflect.Value) matcherNode {
	if value.Kind() != reflect.Pointer {
		return matcherNode{}
	}
	module, ok := reflect.New(value.Type().Elem()).Interface().(caddy.Module)
	if !ok {
		return matcherNode{}
	}
	m := matcherNode{name: module.CaddyModule().ID.Name()}
	if m.name == "not" {
		m.negate = loadedSets(value.Elem().FieldByName("MatcherSets"))
	}
	return m
}
