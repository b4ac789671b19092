package interop

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// challenges are the two kinds that need no more than a port: what to turn off so that
// only this one is left, and what Caddy's log says of an answer.
var challenges = map[string]struct {
	turnOff, answered string
	shared            bool // a server of layer4 has the port
}{
	"HTTP-01":                  {"disable_tlsalpn_challenge", `"challenge":"http-01"`, false},
	"TLS-ALPN-01":              {"disable_http_challenge", `"challenge":"tls-alpn-01"`, false},
	"TLS-ALPN-01, port in use": {"disable_http_challenge", `"challenge":"tls-alpn-01"`, true},
}

// TestACME has a certificate obtained for a name that stands only in starttls, and renewed
// under way: it is as good as expired soon after it has been issued.
func TestACME(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	for name, challenge := range challenges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := startPebble(t, time.Minute)
			client := mailClient{addr: freeAddr(t), host: "mail.example.com", roots: ca.roots(t)}
			also := ""
			if challenge.shared {
				also = "127.0.0.1:" + ca.tls + " {\n route {\n tls\n echo\n }\n }\n"
			}
			c := startCaddyfile(t, func(storage string) string {
				return "{\n" + ca.acmeOptions(storage, challenge.turnOff) + "\nrenewal_window_ratio 0.95\n" +
					client.server("mail.example.com", startQuitter(t), also) + "}\n"
			}, []string{"mail.example.com"}, client.addr)
			first := client.serial(t)
			require.Contains(t, c.Log(), challenge.answered)
			eventually(t, startTimeout, "another certificate", func() bool { return client.serial(t) != first })
			require.GreaterOrEqual(t, ca.issued(), 2)
			require.False(t, c.Exited())
		})
	}
}

// server is a layer4 block that upgrades SMTP at the client's address, beside others.
func (c mailClient) server(hostnames, backend string, others ...string) string {
	return fmt.Sprintf(`
	layer4 {
		%s {
			route {
				starttls smtp %s
				proxy %s
			}
		}
		%s
	}
`, c.addr, hostnames, backend, strings.Join(others, ""))
}

// TestACMEOnDemand has certificates obtained in the handshake, for names that `ask` knows:
// beside hostnames, which are obtained at start, and without any.
func TestACMEOnDemand(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	for name, hostnames := range map[string]string{"hostnames": "mail.example.com", "no hostnames": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := startPebble(t, time.Hour)
			client := mailClient{addr: freeAddr(t), host: "new.example.com", roots: ca.roots(t)}
			c := startCaddyfile(t, func(storage string) string {
				return "{\n" + ca.acmeOptions(storage, "") + "\non_demand_tls {\n ask " + startAsk(t, "new.example.com") + "\n}\n" +
					client.server(hostnames, startQuitter(t)) + "}\nhttps:// {\n tls {\n on_demand\n }\n}\n"
			}, hostsOf(hostnames), client.addr)
			before := ca.issued()
			require.Len(t, hostsOf(hostnames), before)
			require.Equal(t, client.serial(t), client.serial(t))
			require.Equal(t, before+1, ca.issued())

			client.asks = "unheard.example.com"
			if hostnames == "" {
				out, err := client.try(t)
				require.Error(t, err)
				require.Contains(t, out, "alert internal error")
			} else {
				client.host = "mail.example.com"
				client.connect(t)
			}
			require.Equal(t, before+1, ca.issued())
			require.False(t, c.Exited())
		})
	}
}

func hostsOf(hostnames string) []string { return strings.Fields(hostnames) }

// startAsk runs a permission endpoint of on-demand TLS, which knows one name.
func startAsk(t testing.TB, name string) (url string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("domain") != name {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestACMEByDNS has the certificate of a wildcard obtained with a DNS provider. It serves the
// names below it, so that nothing else is obtained for them.
func TestACMEByDNS(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	bin, err := dnsCaddyBuild.programs()
	require.NoError(t, err)
	ca, dir := startPebble(t, time.Hour), t.TempDir()
	client := mailClient{addr: freeAddr(t), roots: ca.roots(t)}
	storage := filepath.Join(dir, "storage")
	c := runCaddy(t, bin+"/dnscaddy", storage, "--adapter", "caddyfile", "--config", writeFile(t, dir, "Caddyfile",
		"{\n"+ca.acmeOptions(storage, "dns test "+ca.names.url+"\nresolvers "+ca.names.addr)+
			client.server("example.com *.example.com mail.example.com", startQuitter(t))+"}\n"))
	c.await(t, []string{"example.com", "*.example.com"}, client.addr)
	for _, name := range []string{"example.com", "mail.example.com", "any.example.com"} {
		client.host = name
		client.connect(t)
	}
	require.Equal(t, 2, ca.issued())
	added, left := ca.names.left()
	require.Equal(t, []int{2, 0}, []int{added, left})
}
