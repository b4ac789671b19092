package l4starttls_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/stretchr/testify/require"
)

func init() {
	caddy.RegisterModule(foreignHandler{})
	caddy.RegisterModule(foreignMatcher{})
}

// A foreignHandler is one of another plugin, of which nobody here knows anything. Its
// options have the names of others' and are of other types.
type foreignHandler struct {
	Upstreams string `json:"upstreams,omitempty"`
	Routes    int    `json:"routes,omitempty"`
}

func (foreignHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.foreign", New: func() caddy.Module { return new(foreignHandler) }}
}

func (foreignHandler) Handle(cx *layer4.Connection, next layer4.Handler) error {
	return next.Handle(cx)
}

// A foreignMatcher is one of another plugin.
type foreignMatcher struct{}

func (foreignMatcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.matchers.foreign", New: func() caddy.Module { return new(foreignMatcher) }}
}

func (foreignMatcher) Match(*layer4.Connection) (bool, error) { return true, nil }

// Handlers, as JSON.
const (
	jsonStartTLS     = `{"handler": "starttls", "protocol": "smtp", "hostnames": ["localhost"]}`
	jsonPass         = `{"handler": "starttls", "protocol": "smtp", "passthrough": true}`
	jsonUpstream     = `{"handler": "starttls_upstream", "protocol": "smtp", "tls": {"server_name": "mail.example.com"}}`
	jsonUpstreamPass = `{"handler": "starttls_upstream", "protocol": "smtp", "passthrough": true}`
	jsonHeader       = `{"handler": "send_proxy_protocol"}`
	jsonProxy        = `{"handler": "proxy", "upstreams": [{"dial": ["127.0.0.1:2587"]}]}`
	jsonForeign      = `{"handler": "foreign", "upstreams": "none", "routes": 3}`
)

// jsonRoute is a route with matchers, which may be none, and handlers.
func jsonRoute(match string, handlers ...string) string {
	if match != "" {
		match = `"match": [` + match + `], `
	}
	return `{` + match + `"handle": [` + strings.Join(handlers, ", ") + `]}`
}

func jsonServer(routes ...string) string {
	return `{"listen": ["127.0.0.1:0"], "routes": [` + strings.Join(routes, ", ") + `]}`
}

func jsonSubroute(routes ...string) string {
	return `{"handler": "subroute", "routes": [` + strings.Join(routes, ", ") + `]}`
}

func jsonApp(servers ...string) []byte {
	for i, server := range servers {
		servers[i] = fmt.Sprintf(`"srv%d": %s`, i, server)
	}
	return []byte(`{"apps": {"layer4": {"servers": {` + strings.Join(servers, ", ") + `}}}}`)
}

// Who writes JSON is told the path of what is wrong, whatever the order in which servers
// are provisioned.
func TestMistakesInJSONNameThePath(t *testing.T) {
	fine := jsonServer(jsonRoute("", jsonStartTLS, jsonProxy))
	for range 5 {
		_, err := validate(t, jsonApp(fine, jsonServer(
			jsonRoute(`{"remote_ip": {"ranges": ["192.0.2.0/24"]}}`, jsonProxy),
			jsonRoute("", jsonStartTLS, jsonSubroute(jsonRoute("", jsonForeign), jsonRoute("", jsonHeader, jsonStartTLS, jsonProxy))),
		), fine))
		require.ErrorContains(t, err, "server 'srv1': route 1: ")
		require.ErrorContains(t, err, "send_proxy_protocol in front of starttls, ")
		require.ErrorContains(t, err, ", at apps/layer4/servers/srv1/routes/1/handle/1/routes/1/handle/1")
	}
}

// What other plugins bring may do anything, so nothing is said against it.
func TestForeignModulesAreNeverRefused(t *testing.T) {
	const foreign = `{"foreign": {}}`
	const httpUpstreamPass = `{"handler": "starttls_upstream", "protocol": "http", "passthrough": true}`
	for name, server := range map[string]string{
		"in front of starttls":         jsonServer(jsonRoute("", jsonForeign, jsonStartTLS, jsonProxy)),
		"in front of HTTP's upstream":  jsonServer(jsonRoute("", jsonForeign, httpUpstreamPass, jsonProxy)),
		"behind starttls_upstream":     jsonServer(jsonRoute("", jsonUpstream, jsonForeign)),
		"in a subroute behind it":      jsonServer(jsonRoute("", jsonUpstream, jsonSubroute(jsonRoute("", jsonForeign)))),
		"a matcher of starttls":        jsonServer(jsonRoute(foreign, jsonStartTLS, jsonProxy)),
		"a matcher in front":           jsonServer(jsonRoute(foreign, jsonForeign), jsonRoute("", jsonStartTLS, jsonProxy)),
		"a matcher behind":             jsonServer(jsonRoute("", jsonStartTLS, jsonSubroute(jsonRoute(foreign, jsonProxy)))),
		"it may dial in a later route": jsonServer(jsonRoute("", jsonStartTLS), jsonRoute(foreign, jsonForeign)),
		"beside a matcher that reads":  jsonServer(jsonRoute(`{"foreign": {}, "tls": {}}`, jsonProxy), jsonRoute("", jsonStartTLS, jsonProxy)),
		"between two starttls":         jsonServer(jsonRoute("", jsonStartTLS, jsonForeign, jsonStartTLS, jsonProxy)),
		"between tls and starttls":     jsonServer(jsonRoute("", `{"handler": "tls"}`, jsonForeign, jsonStartTLS, jsonProxy)),
		"between header and starttls":  jsonServer(jsonRoute("", jsonHeader, jsonForeign, jsonStartTLS, jsonProxy)),
		"between passthrough and dial": jsonServer(jsonRoute("", jsonPass, jsonForeign, jsonProxy)),
		"a route that may go on":       jsonServer(jsonRoute("", jsonStartTLS, jsonForeign), jsonRoute("", jsonStartTLS, jsonProxy)),
	} {
		t.Run(name, func(t *testing.T) {
			warnings, err := validate(t, jsonApp(server))
			require.NoError(t, err)
			require.Empty(t, warnings)
		})
	}
}

// What looks like a mistake and is none.
func TestRoutesThatAreFine(t *testing.T) {
	const (
		tls      = `{"handler": "tls"}`
		matchTLS = `{"tls": {"sni": ["mail.example.com"]}}`
		lan      = `{"remote_ip": {"ranges": ["192.0.2.0/24"]}}`
		pg       = `{"handler": "starttls", "protocol": "postgres", "hostnames": ["localhost"]}`
		implicit = `{"handler": "starttls", "protocol": "imap", "implicit_tls": "200ms", "hostnames": ["localhost"]}`
		proxyTLS = `{"handler": "proxy", "upstreams": [{"dial": ["127.0.0.1:465"], "tls": {}}]}`
	)
	for name, server := range map[string]string{
		"the end of a tunnel":                     jsonServer(jsonRoute("", `{"handler": "starttls", "protocol": "connect", "hostnames": ["localhost"], "passthrough": true}`, jsonProxy)),
		"a tunnel by way of another proxy":        jsonServer(jsonRoute("", `{"handler": "starttls", "protocol": "connect", "hostnames": ["localhost"], "passthrough": true}`, `{"handler": "starttls_upstream", "protocol": "connect", "tls": {"server_name": "a.example"}, "passthrough": true}`, jsonProxy)),
		"HTTP that is passed through":             jsonServer(jsonRoute("", `{"handler": "starttls", "protocol": "http", "passthrough": true}`, `{"handler": "starttls_upstream", "protocol": "http", "tls": {"server_name": "a.example"}, "passthrough": true}`, jsonProxy)),
		"HTTP is passed through by two routes":    jsonServer(jsonRoute("", `{"handler": "starttls", "protocol": "http", "passthrough": true}`), jsonRoute("", `{"handler": "starttls_upstream", "protocol": "http", "passthrough": true}`, jsonProxy)),
		"TLS is left to tls":                      jsonServer(jsonRoute("", jsonPass, tls, jsonProxy)),
		"tls in front of starttls_upstream":       jsonServer(jsonRoute("", tls, jsonUpstream, jsonProxy)),
		"a subroute that takes some":              jsonServer(jsonRoute("", jsonSubroute(jsonRoute(lan, jsonProxy)), jsonStartTLS, jsonProxy)),
		"a proxy header in front":                 jsonServer(jsonRoute(`{"proxy_protocol": {}}`, `{"handler": "proxy_protocol"}`), jsonRoute("", jsonStartTLS, jsonProxy)),
		"two protocols by address":                jsonServer(jsonRoute(lan, jsonStartTLS, jsonProxy), jsonRoute("", implicit, jsonProxy)),
		"a ClientHello chooses implicit TLS":      jsonServer(jsonRoute(matchTLS, implicit, jsonProxy)),
		"header in one route, proxy in another":   jsonServer(jsonRoute("", jsonStartTLS, jsonSubroute(jsonRoute("", jsonHeader), jsonRoute(`{"upgraded": {}}`, jsonProxy), jsonRoute("", jsonProxy)))),
		"end to end":                              jsonServer(jsonRoute("", jsonPass, jsonSubroute(jsonRoute(matchTLS, jsonUpstreamPass, jsonHeader, jsonProxy)))),
		"TLS of PostgreSQL is passed on":          jsonServer(jsonRoute(`{"postgres": {}}`, `{"handler": "postgres_tls"}`, `{"handler": "starttls_upstream", "protocol": "postgres", "passthrough": true}`, jsonProxy)),
		"TLS on both sides":                       jsonServer(jsonRoute("", jsonStartTLS, proxyTLS)),
		"a mirror behind starttls":                jsonServer(jsonRoute("", jsonStartTLS, `{"handler": "tee", "branch": [`+jsonProxy+`]}`, jsonProxy)),
		"matchers of client-first protocols":      jsonServer(jsonRoute(`{"starttls": ["postgres"]}`, pg, jsonSubroute(jsonRoute(`{"postgres": {}}`, jsonProxy))), jsonRoute(`{"ssh": {}}`, jsonProxy)),
		"upgraded and not, told apart":            jsonServer(jsonRoute(`{"starttls": ["postgres"]}`, pg, jsonSubroute(jsonRoute(`{"upgraded": {}}`, jsonProxy))), jsonRoute(matchTLS, jsonProxy)),
		"starttls in one of two routes":           jsonServer(jsonRoute(lan, jsonStartTLS, jsonProxy), jsonRoute("", jsonProxy)),
		"waiting for what is behind, out of turn": jsonServer(jsonRoute(`{"http": []}`, jsonProxy), jsonRoute("", pg, jsonProxy), jsonRoute(`{"starttls": ["ldap"]}`, `{"handler": "starttls", "protocol": "ldap"}`, jsonProxy)),
	} {
		t.Run(name, func(t *testing.T) {
			warnings, err := validate(t, jsonApp(server))
			require.NoError(t, err)
			require.Empty(t, warnings)
		})
	}
}

// Where proxy is in a later route than starttls, there is one warning for each starttls that
// has something to say which it cannot say then, and no refusal.
func TestProxyBehindTheRoute(t *testing.T) {
	const (
		echo      = `{"handler": "echo"}`
		upgraded  = `{"upgraded": {}}`
		ssh       = `{"ssh": {}}`
		pg        = `{"starttls": ["postgres"]}`
		jsonLine  = `{"handler": "starttls", "protocol": "line"}`
		jsonPG    = `{"handler": "starttls", "protocol": "postgres", "hostnames": ["localhost"]}`
		jsonPlain = `{"handler": "starttls", "protocol": "smtp", "passthrough": true, "policy": "optional"}`
	)
	for name, test := range map[string]struct {
		routes []string
		places []string
	}{
		"any connection":               {[]string{jsonRoute("", jsonStartTLS), jsonRoute("", jsonProxy)}, []string{"0/handle/0"}},
		"some of them":                 {[]string{jsonRoute("", jsonStartTLS), jsonRoute(upgraded, jsonProxy)}, []string{"0/handle/0"}},
		"header in a route of its own": {[]string{jsonRoute("", jsonStartTLS), jsonRoute("", jsonHeader), jsonRoute("", jsonProxy)}, []string{"0/handle/0"}},
		"two proxies":                  {[]string{jsonRoute("", jsonStartTLS), jsonRoute(upgraded, jsonProxy), jsonRoute("", jsonProxy)}, []string{"0/handle/0"}},
		"two starttls":                 {[]string{jsonRoute(pg, jsonPG), jsonRoute(ssh, echo), jsonRoute("", `{"handler": "starttls", "protocol": "ldap"}`), jsonRoute("", jsonProxy)}, []string{"0/handle/0", "2/handle/0"}},
		"upgraded later on":            {[]string{jsonRoute("", jsonStartTLS), jsonRoute("", jsonUpstream, jsonProxy)}, []string{"0/handle/0"}},
		"in a subroute of a later one": {[]string{jsonRoute("", jsonStartTLS), jsonRoute("", jsonSubroute(jsonRoute("", jsonProxy)))}, []string{"0/handle/0"}},
		"inside a subroute":            {[]string{jsonRoute("", jsonSubroute(jsonRoute("", jsonStartTLS), jsonRoute("", jsonProxy)))}, []string{"0/handle/0/routes/0/handle/0"}},
		"behind a subroute":            {[]string{jsonRoute("", jsonSubroute(jsonRoute("", jsonStartTLS)), jsonProxy)}, []string{"0/handle/0/routes/0/handle/0"}},
		"what a subroute leaves":       {[]string{jsonRoute("", jsonStartTLS, jsonSubroute(jsonRoute(upgraded, jsonProxy))), jsonRoute("", jsonProxy)}, []string{"0/handle/0"}},
		"upgraded and not, told apart": {[]string{jsonRoute(pg, jsonPG), jsonRoute(`{"tls": {}}`, jsonProxy), jsonRoute(upgraded, jsonProxy)}, []string{"0/handle/0"}},
		"plaintext beside passthrough": {[]string{jsonRoute("", jsonPlain), jsonRoute("", jsonUpstreamPass, jsonProxy)}, []string{"0/handle/0"}},

		"nothing that dials":                {[]string{jsonRoute("", jsonStartTLS), jsonRoute("", echo)}, nil},
		"the end":                           {[]string{jsonRoute("", jsonStartTLS)}, nil},
		"never reached":                     {[]string{jsonRoute("", jsonStartTLS, jsonProxy), jsonRoute("", jsonProxy)}, nil},
		"another protocol":                  {[]string{jsonRoute(pg, jsonPG, jsonSubroute(jsonRoute(upgraded, jsonProxy))), jsonRoute(ssh, jsonProxy)}, nil},
		"TLS that is passed through":        {[]string{jsonRoute("", jsonPass), jsonRoute("", jsonUpstreamPass, jsonProxy)}, nil},
		"plaintext that is the backend's":   {[]string{jsonRoute("", jsonLine), jsonRoute("", jsonProxy)}, nil},
		"a subroute with routes of its own": {[]string{jsonRoute("", jsonStartTLS, jsonSubroute(jsonRoute(upgraded, jsonProxy), jsonRoute("", jsonProxy)))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			warnings, err := validate(t, jsonApp(jsonServer(test.routes...)))
			require.NoError(t, err)
			require.Len(t, warnings, len(test.places))
			for i, place := range test.places {
				require.Contains(t, warnings[i], "dials when starttls has returned: ")
				require.True(t, strings.HasSuffix(warnings[i], ", at apps/layer4/servers/srv0/routes/"+place), warnings[i])
			}
		})
	}
}

// Routes of a listener wrapper are checked as well.
func TestListenerWrappersAreChecked(t *testing.T) {
	config := `{"apps": {"http": {"servers": {"web": {"listen": ["127.0.0.1:0"], "listener_wrappers": [{"wrapper": "layer4", "routes": [` +
		jsonRoute("", jsonStartTLS, jsonStartTLS) + `]}]}}}}}`
	_, err := validate(t, []byte(config))
	require.ErrorContains(t, err, "starttls behind starttls: ")
	require.ErrorContains(t, err, ", at listener_wrappers/layer4/routes/0/handle/1")
}

// Each warning comes once, however many handlers of ours a route has.
func TestWarningsComeOnce(t *testing.T) {
	warnings, err := validate(t, jsonApp(jsonServer(jsonRoute("", jsonPass, jsonHeader, jsonProxy))))
	require.NoError(t, err)
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "starttls smtp with passthrough goes straight to proxy: ")
	require.Contains(t, warnings[0], ", at apps/layer4/servers/srv0/routes/0/handle/0")
}
