package interop

import (
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// tenants share a port, and each has a certificate and a backend of its own. The
// first one's are for everybody who asks for nobody.
var tenants = []string{"a.example.org", "b.example.org", "c.example.org"}

// tenantPort is a Caddy that takes the tenants' clients apart by SNI.
type tenantPort struct {
	*front
	backends map[string]string // by tenant
}

// startTenants runs Caddy in front of the tenants' backends. How is a function that
// returns the routes behind starttls.
func startTenants(t testing.TB, proto string, backends map[string]string, how func(testing.TB, map[string]string) string) *tenantPort {
	t.Helper()
	p := &tenantPort{front: &front{proto: proto, host: tenants[0], addr: freeAddr(t)}, backends: backends}
	config := fmt.Sprintf(`%s {
		route {
			starttls %s %s
		}
		%s
		route {
			proxy %s
		}
	}`, p.addr, proto, strings.Join(tenants, " "), how(t, backends), backends[tenants[0]])
	p.caddyServer = startCaddy(t, config, tenants, p.addr)
	return p
}

// routing are the ways to choose a backend by the name that the client asked for.
var routing = map[string]func(testing.TB, map[string]string) string{
	"matcher": matcherRoutes, "placeholder": placeholderRoute,
}

// matcherRoutes has a route for each tenant but the first, who is the default.
func matcherRoutes(_ testing.TB, backends map[string]string) string {
	var routes strings.Builder
	for i, tenant := range tenants[1:] {
		fmt.Fprintf(&routes, "@tenant%[1]d upgraded sni %[2]s\nroute @tenant%[1]d {\nproxy %[3]s\n}\n", i, tenant, backends[tenant])
	}
	return routes.String()
}

// placeholderRoute has one route for all tenants, whose dial address is made of the
// name. There is no DNS here, so the names are those of sockets.
func placeholderRoute(t testing.TB, backends map[string]string) string {
	dir := serverDir(t)
	for tenant, backend := range backends {
		relay(t, filepath.Join(dir, tenant), backend)
	}
	return "@named upgraded sni *.example.org\nroute @named {\nproxy unix/" + dir + "/{l4.tls.server_name}\n}\n"
}

// relay makes a server reachable through a socket.
func relay(t testing.TB, socket, addr string) {
	t.Helper()
	ln, err := net.Listen("unix", socket)
	require.NoError(t, err)
	serveOn(t, ln, func(near net.Conn) { relayConn(near.(*net.UnixConn), addr) })
}

func relayConn(near *net.UnixConn, addr string) {
	defer near.Close()
	far, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer far.Close()
	go func() {
		io.Copy(far, near)
		far.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(near, far)
}

// eachTenant runs a test for each way of routing and each tenant, and for a client
// that asks for nobody and must be at the first one's.
func eachTenant(t *testing.T, proto string, backends map[string]string, test func(t *testing.T, p *tenantPort, sni, tenant string)) {
	t.Helper()
	for name, how := range routing {
		t.Run(name, func(t *testing.T) {
			p := startTenants(t, proto, backends, how)
			for _, tenant := range tenants {
				t.Run(tenant, func(t *testing.T) { test(t, p, tenant, tenant) })
			}
			t.Run("no SNI", func(t *testing.T) { test(t, p, "", tenants[0]) })
		})
	}
}

// dialogue upgrades with openssl, which verifies the tenant's certificate.
func (p *tenantPort) dialogue(t testing.TB, sni, tenant string) *dialogue {
	t.Helper()
	name := []string{"-servername", sni}
	if sni == "" {
		name = []string{"-noservername"}
	}
	return startDialogue(t, "openssl", append([]string{
		"s_client", "-quiet", "-crlf", "-starttls", p.proto, "-connect", p.addr,
		"-verify_hostname", tenant, "-verify_return_error", "-CAfile", p.Root(),
	}, name...)...)
}

// TestTenantsIMAP has a Dovecot for each tenant, which says its name when asked.
func TestTenantsIMAP(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	backends := make(map[string]string)
	for _, tenant := range tenants {
		backends[tenant] = startDovecot(t, tlsOff+"\nimap_id_send = name "+tenant).imap
	}
	eachTenant(t, "imap", backends, func(t *testing.T, p *tenantPort, sni, tenant string) {
		c := p.dialogue(t, sni, tenant)
		c.send("a ID NIL")
		require.Contains(t, c.expect(`^a OK .*\n`), `* ID ("name" "`+tenant+`")`)
		c.send(`b LOGIN alice "open sesame"`)
		c.expect(`^b OK .*\n`)
		c.send("c LOGOUT")
		c.expect(`^c OK .*\n`)
		require.Empty(t, c.end())
	})
}

// TestTenantsSMTP has one Postfix with a service for each tenant.
func TestTenantsSMTP(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	backends, services := make(map[string]string), ""
	for _, tenant := range tenants {
		backends[tenant] = freeAddr(t)
		services += backends[tenant] + " inet n - n - - smtpd\n  -o myhostname=" + tenant + "\n"
	}
	startPostfixWith(t, startDovecot(t, tlsOff), "", services)
	for _, backend := range backends {
		waitTCP(t, backend)
	}
	eachTenant(t, "smtp", backends, func(t *testing.T, p *tenantPort, sni, tenant string) {
		c := p.dialogue(t, sni, tenant)
		c.send("EHLO client.example")
		require.Contains(t, c.expect(`^250 .*\n`), "250-"+tenant)
		c.send("QUIT")
		c.expect(`^221 .*\n`)
		require.Empty(t, c.end())
	})
}

// TestTenantsPostgres has a database for each tenant.
func TestTenantsPostgres(t *testing.T) {
	t.Parallel()
	backends := make(map[string]string)
	for _, tenant := range tenants {
		backends[tenant] = startPostgres(t).addr
	}
	eachTenant(t, "postgres", backends, func(t *testing.T, p *tenantPort, sni, tenant string) {
		login := p.verified(t) + " host=" + tenant
		if sni == "" {
			login += " sslsni=0"
		}
		out, err := psql(t, login, "SELECT inet_server_port()")
		require.NoError(t, err, out)
		require.Equal(t, port(t, backends[tenant])+"\n", out)
	})
}
