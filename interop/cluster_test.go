package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// distributed has Caddies share the keys of their session tickets over their storage.
const distributed = `"session_tickets": {"key_source": {"provider": "distributed"}},`

// A cluster is two Caddies for one name, with one storage.
type cluster struct {
	ca      *acmeServer
	caddies [2]*caddyServer
	clients [2]mailClient
}

// startCluster starts both at once, so that both want the certificate at the same time.
func startCluster(t testing.TB, tickets string) *cluster {
	t.Helper()
	need(t, "openssl")
	c := &cluster{ca: startPebble(t, time.Hour)}
	storage, roots, backend := filepath.Join(t.TempDir(), "storage"), c.ca.roots(t), startQuitter(t)
	for i := range c.caddies {
		c.clients[i] = mailClient{addr: freeAddr(t), host: "mail.example.com", roots: roots}
		config := clusterConfig(c.clients[i].addr, storage, tickets+`"automation": {"policies": [`+c.ca.policy(t)+`]}`, backend)
		c.caddies[i] = runCaddy(t, caddyBinary(t), storage, "--config", writeFile(t, t.TempDir(), "caddy.json", config))
	}
	for i, caddy := range c.caddies {
		caddy.await(t, []string{"mail.example.com"}, c.clients[i].addr)
	}
	return c
}

func clusterConfig(addr, storage, tls, backend string) string {
	return fmt.Sprintf(`{
	"admin": {"disabled": true},
	"logging": {"logs": {"default": {"level": "DEBUG"}}},
	"storage": {"module": "file_system", "root": %q},
	"apps": {
		"tls": {%s},
		"layer4": {"servers": {"smtp": {"listen": [%q], "routes": [{"handle": [
			{"handler": "starttls", "protocol": "smtp", "hostnames": ["mail.example.com"]},
			{"handler": "proxy", "upstreams": [{"dial": [%q]}]}
		]}]}}}
	}
}`, storage, tls, addr, backend)
}

// TestClusterSharesTheCertificate has one of them obtain it, and the other one use it.
func TestClusterSharesTheCertificate(t *testing.T) {
	t.Parallel()
	c := startCluster(t, "")
	require.Equal(t, c.clients[0].serial(t), c.clients[1].serial(t))
	require.Equal(t, 1, c.ca.issued())
}

// TestClusterResumes has a client resume its session at the other Caddy, if both have the
// same keys, and only then.
func TestClusterResumes(t *testing.T) {
	t.Parallel()
	for name, tickets := range map[string]string{"distributed": distributed, "keys of their own": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, tickets)
			for _, version := range []string{"-tls1_2", "-tls1_3"} {
				for i, first := range c.clients {
					other := c.clients[1-i]
					session := filepath.Join(t.TempDir(), "session")
					require.Contains(t, first.connect(t, version, "-sess_out", session), "\nNew, TLSv1.")
					require.Contains(t, first.connect(t, version, "-sess_in", session), "\nReused, TLSv1.")
					require.Equal(t, tickets != "", strings.Contains(other.connect(t, version, "-sess_in", session), "\nReused, TLSv1."))
				}
			}
		})
	}
}

// TestClusterAnswersForOthers has the one that has a site answer the challenge of the other.
func TestClusterAnswersForOthers(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ca, storage := startPebble(t, time.Hour), filepath.Join(t.TempDir(), "storage")
	client := mailClient{addr: freeAddr(t), host: "mail.example.com", roots: ca.roots(t)}
	start := func(servers, sites string, hosts []string, addr string) *caddyServer {
		return startCaddyfile(t, func(string) string {
			return "{\n" + ca.acmeOptions(storage, "disable_tlsalpn_challenge") + servers + "}\n" + sites
		}, hosts, addr)
	}
	web := start("", "http:// {\n respond 404\n}\n", nil, "127.0.0.1:"+ca.http)
	mail := start(client.server("mail.example.com", startQuitter(t)), "", []string{"mail.example.com"}, client.addr)
	client.connect(t)
	require.Contains(t, web.Log(), `"challenge":"http-01"`)
	require.NotContains(t, mail.Log(), `"msg":"served key authentication"`)
	require.Contains(t, web.Log(), `"distributed":true`)
}
