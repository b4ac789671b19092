package l4starttls

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
)

// staticUpstream is the address of the upstream behind a handler, for logs: that of a proxy
// in the same route which has but one, without placeholders. proxy itself does not say whom
// it has chosen.
//
// A module does not see its own route, but it does see the routes around it, as JSON where
// they are not loaded yet. If several routes have the same handler, they must agree.
func staticUpstream(ctx caddy.Context, handler caddy.Module) string {
	own, err := json.Marshal(handler)
	if err != nil {
		return ""
	}
	found := ""
	for _, route := range routesAround(ctx) {
		at := indexOf(route.HandlersRaw, own, handler.CaddyModule())
		if at < 0 {
			continue
		}
		upstream := onlyUpstream(route.HandlersRaw[at+1:])
		if upstream == "" || found != "" && found != upstream {
			return ""
		}
		found = upstream
	}
	return found
}

// routesAround are those of the nearest module that has any.
func routesAround(ctx caddy.Context) (routes layer4.RouteList) {
	modules := ctx.Modules()
	for i := len(modules) - 1; i >= 0; i-- {
		if app, ok := modules[i].(*layer4.App); ok {
			for _, server := range app.Servers {
				routes = append(routes, server.Routes...)
			}
			return routes
		}
		field := reflect.Indirect(reflect.ValueOf(modules[i]))
		if field.Kind() != reflect.Struct || !field.FieldByName("Routes").IsValid() {
			continue
		}
		if routes, ok := field.FieldByName("Routes").Interface().(layer4.RouteList); ok {
			return routes
		}
	}
	return nil
}

// indexOf finds a handler among those of a route, or is -1.
func indexOf(handlers []json.RawMessage, own []byte, info caddy.ModuleInfo) int {
	for i, raw := range handlers {
		var fields map[string]json.RawMessage
		if json.Unmarshal(raw, &fields) != nil || string(fields["handler"]) != `"`+info.ID.Name()+`"` {
			continue
		}
		delete(fields, "handler")
		if bytes.Equal(canonical(fields, info.New()), own) {
			return i
		}
	}
	return -1
}

// canonical is how a module is written that has these fields.
func canonical(fields map[string]json.RawMessage, module caddy.Module) []byte {
	plain, err := json.Marshal(fields)
	if err != nil || json.Unmarshal(plain, module) != nil {
		return nil
	}
	written, err := json.Marshal(module)
	if err != nil {
		return nil
	}
	return written
}

// onlyUpstream is the address of the first proxy's only upstream.
func onlyUpstream(handlers []json.RawMessage) string {
	for _, raw := range handlers {
		var proxy struct {
			Handler   string `json:"handler"`
			Upstreams []struct {
				Dial []string `json:"dial"`
			} `json:"upstreams"`
		}
		if json.Unmarshal(raw, &proxy) != nil || proxy.Handler != "proxy" {
			continue
		}
		if len(proxy.Upstreams) != 1 || len(proxy.Upstreams[0].Dial) != 1 || strings.Contains(proxy.Upstreams[0].Dial[0], "{") {
			return ""
		}
		return proxy.Upstreams[0].Dial[0]
	}
	return ""
}
