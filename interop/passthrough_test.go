package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// defaultTenant is whose server gets the clients that ask for nobody, or for somebody
// else.
const defaultTenant = "default.example.org"

// allTenants are the names in the certificates of the servers. Each server has one
// certificate, so it is known by that.
var allTenants = append(tenants[:len(tenants):len(tenants)], defaultTenant)

// passthroughPort is a Caddy that chooses servers by SNI, and asks them for an upgrade
// of which it sees nothing but the beginning.
type passthroughPort struct {
	*caddyServer
	ca    *authority
	addrs map[string]string // by protocol
}

// startPassthrough runs Caddy in front of the tenants' servers, which are keyed by
// protocol and tenant.
func startPassthrough(t testing.TB, ca *authority, servers map[string]map[string]string) *passthroughPort {
	t.Helper()
	handlers := make(map[string]string)
	for proto, addrs := range servers {
		handlers[proto] = passthroughRoute(proto, addrs)
	}
	r := startRoutes(t, nil, handlers)
	return &passthroughPort{r.caddyServer, ca, r.addr}
}

// passthroughRoute returns the handlers of a protocol.
func passthroughRoute(proto string, addrs map[string]string) string {
	routes := ""
	for i, tenant := range tenants {
		routes += fmt.Sprintf("@tenant%[1]d tls sni %[2]s\nroute @tenant%[1]d {\n%[3]s\n}\n", i, tenant, passTo(proto, addrs[tenant]))
	}
	return fmt.Sprintf("starttls %s {\npassthrough\n}\nsubroute {\n%s\nroute {\n%s\n}\n}",
		proto, routes, passTo(proto, addrs[defaultTenant]))
}

// passTo returns the handlers that ask a server for the upgrade.
func passTo(proto, addr string) string {
	header := ""
	if proto == "smtp" {
		header = "send_proxy_protocol"
	}
	return fmt.Sprintf("starttls_upstream %s {\npassthrough\n}\n%s\nproxy %s", proto, header, addr)
}

// eachAsked runs a test for each tenant, for a client without SNI, and for one that
// asks for a name that is not here.
func eachAsked(t *testing.T, test func(t *testing.T, sni, tenant string)) {
	t.Helper()
	for _, tenant := range tenants {
		t.Run(tenant, func(t *testing.T) { test(t, tenant, tenant) })
	}
	t.Run("no SNI", func(t *testing.T) { test(t, "", defaultTenant) })
	t.Run("other SNI", func(t *testing.T) { test(t, "other.example.org", defaultTenant) })
}

// dialogue upgrades with openssl, which verifies the certificate of the server.
func (p *passthroughPort) dialogue(t testing.TB, proto, sni, tenant string) *dialogue {
	t.Helper()
	return p.verifying(t, proto, sni, tenant, tenant)
}

// verifying is dialogue with another name to verify than that of the tenant.
func (p *passthroughPort) verifying(t testing.TB, proto, sni, tenant, verify string) *dialogue {
	t.Helper()
	name := []string{"-servername", sni}
	if sni == "" {
		name = []string{"-noservername"}
	}
	return startDialogue(t, "openssl", append([]string{
		"s_client", "-quiet", "-crlf", "-starttls", proto, "-connect", p.addrs[proto], "-name", tenant,
		"-verify_hostname", verify, "-verify_return_error", "-CAfile", p.ca.file,
	}, name...)...)
}

// startTenantMail runs a Dovecot for each tenant, and a Postfix with a service for
// each. They demand TLS, and Postfix a PROXY protocol header in front of all else.
func startTenantMail(t testing.TB, ca *authority, tenants ...string) map[string]map[string]string {
	t.Helper()
	servers := map[string]map[string]string{"smtp": {}, "imap": {}, "pop3": {}, "sieve": {}}
	services := ""
	var d *dovecot
	for _, tenant := range tenants {
		cert, key := ca.issue(t, tenant)
		d = startDovecotWith(t, fmt.Sprintf("ssl = required\nssl_cert = <%s\nssl_key = <%s", cert, key), fmt.Sprintf(
			"imap_id_send = name %[1]s\nprotocol sieve {\n  managesieve_implementation_string = %[1]s\n}\n", tenant))
		servers["imap"][tenant], servers["pop3"][tenant], servers["sieve"][tenant] = d.imap, d.pop3, d.sieve
		addr := freeAddr(t)
		servers["smtp"][tenant] = addr
		services += fmt.Sprintf(tenantSMTP, addr, tenant, cert, key)
	}
	startPostfixWith(t, d, "", services)
	for _, addr := range servers["smtp"] {
		waitTCP(t, addr)
	}
	return servers
}

const tenantSMTP = `%s inet n - n - - smtpd
  -o myhostname=%s
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_cert_file=%s
  -o smtpd_tls_key_file=%s
  -o smtpd_upstream_proxy_protocol=haproxy
`

// TestPassthroughMail has mail servers that all have their own certificates, which
// their clients get to see.
func TestPassthroughMail(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "curl")
	ca := newAuthority(t)
	p := startPassthrough(t, ca, startTenantMail(t, ca, allTenants...))
	for proto, steps := range map[string]func(tenant string) [][2]string{
		"smtp": func(tenant string) [][2]string {
			return [][2]string{
				{"EHLO client.example", `\A250-` + tenant + `\n(250-.*\n)*250 .*\n`},
				{"AUTH PLAIN " + plainResponse(), `\A235 .*\n`}, {"QUIT", `\A221 .*\n`},
			}
		},
		"imap": func(tenant string) [][2]string {
			return [][2]string{
				{"a ID NIL", `\A\* ID \("name" "` + tenant + `"\)\na OK .*\n`},
				{`b LOGIN alice "open sesame"`, `^b OK .*\n`}, {"c LOGOUT", `^c OK .*\n`},
			}
		},
		"pop3": func(string) [][2]string {
			return [][2]string{{"USER alice", `\A\+OK.*\n`}, {"PASS open sesame", `\A\+OK Logged in.*\n`}, {"QUIT", `\A\+OK.*\n`}}
		},
		"sieve": func(tenant string) [][2]string {
			return [][2]string{
				{"", `\A"IMPLEMENTATION" "` + tenant + `"\n(".*\n)+OK.*\n`},
				{`AUTHENTICATE "PLAIN" "` + plainResponse() + `"`, `^OK.*\n`}, {"LOGOUT", `^OK.*\n`},
			}
		},
	} {
		t.Run(proto, func(t *testing.T) {
			eachAsked(t, func(t *testing.T, sni, tenant string) { p.hold(t, proto, sni, tenant, steps(tenant)) })
		})
	}
	t.Run("curl", func(t *testing.T) { p.requireCurl(t) })
	t.Run("verifies", func(t *testing.T) { p.requireVerifies(t) })
	p.requireNoCertificates(t)
}

// hold is a dialogue of lines and their answers, to the end of the connection.
func (p *passthroughPort) hold(t *testing.T, proto, sni, tenant string, steps [][2]string) {
	t.Helper()
	c := p.dialogue(t, proto, sni, tenant)
	for _, step := range steps {
		if step[0] != "" {
			c.send(step[0])
		}
		// s_client turns nothing that it prints.
		c.expect(strings.ReplaceAll(step[1], `\n`, `\r\n`))
	}
	require.Empty(t, c.end())
}

// requireCurl reads each tenant's mailbox with a client that is given nothing but a
// name.
func (p *passthroughPort) requireCurl(t *testing.T) {
	t.Helper()
	for _, proto := range []string{"imap", "pop3"} {
		for _, tenant := range allTenants {
			where := tenant + ":" + port(t, p.addrs[proto])
			out, err := run(t, clientTimeout, "", "curl", "-sSv", "--ssl-reqd", "--cacert", p.ca.file,
				"--resolve", where+":127.0.0.1", "-u", mailUser+":"+mailPassword, proto+"://"+where+"/")
			require.NoError(t, err, out)
			require.Contains(t, out, "subject: CN="+tenant+"\n")
		}
	}
}

// requireVerifies shows that the clients would have noticed a wrong certificate.
func (p *passthroughPort) requireVerifies(t *testing.T) {
	t.Helper()
	for proto := range p.addrs {
		c := p.verifying(t, proto, tenants[1], tenants[1], tenants[0])
		require.Empty(t, c.end())
		require.Contains(t, c.errors.String(), "hostname mismatch")
	}
}

// requireNoCertificates shows that Caddy has none that it could have used.
func (p *passthroughPort) requireNoCertificates(t testing.TB) {
	t.Helper()
	_, err := os.Stat(filepath.Join(p.storage, "certificates"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestPassthroughPostgres has what no terminator can have: channel binding, and client
// certificates.
func TestPassthroughPostgres(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	addrs := make(map[string]string)
	for _, tenant := range allTenants {
		addrs[tenant] = tenantPostgres(t, ca, tenant)
	}
	p := startPassthrough(t, ca, map[string]map[string]string{"postgres": addrs})
	cert, key := ca.issue(t, pgUser)
	require.NoError(t, os.Chmod(key, 0o600))
	login := pgLogin(t, p.addrs["postgres"]) + " sslmode=verify-full sslrootcert=" + ca.file
	own := login + " channel_binding=require sslcert=" + cert + " sslkey=" + key
	eachAsked(t, func(t *testing.T, sni, tenant string) {
		who := " host=" + tenant
		if sni == "" {
			who += " sslsni=0"
		}
		out, err := psql(t, own+who, "SELECT inet_server_port(), ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
		require.NoError(t, err, out)
		require.Equal(t, port(t, addrs[tenant])+"|t|/CN="+pgUser+"\n", out)
		out, err = psql(t, login+who, "SELECT 1")
		require.Error(t, err)
		require.Contains(t, out, "connection requires a valid client certificate")
	})
	out, err := psql(t, own+" host="+tenants[0]+" sslsni=0", "SELECT 1")
	require.Error(t, err)
	require.Contains(t, out, `server certificate for "`+defaultTenant+`" does not match host name "`+tenants[0]+`"`)
}

// tenantPostgres runs a PostgreSQL that wants a certificate and a password from all.
func tenantPostgres(t testing.TB, ca *authority, tenant string) string {
	t.Helper()
	cert, key := ca.issue(t, tenant)
	require.NoError(t, os.Chmod(key, 0o600))
	asPostgresUser(t, key)
	return startPostgresWith(t, "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full\n",
		"-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key, "-c", "ssl_ca_file="+ca.file).addr
}

// TestPassthroughLDAP has a directory for each tenant.
func TestPassthroughLDAP(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ca := newAuthority(t)
	addrs := make(map[string]string)
	for _, tenant := range allTenants {
		cert, key := ca.issue(t, tenant)
		addrs[tenant] = freeAddr(t)
		startSlapdWith(t, fmt.Sprintf("TLSCertificateFile %s\nTLSCertificateKeyFile %s\nsecurity tls=1", cert, key), "ldap://"+addrs[tenant])
	}
	p := startPassthrough(t, ca, map[string]map[string]string{"ldap": addrs})
	eachAsked(t, func(t *testing.T, sni, tenant string) {
		c := p.dialogue(t, "ldap", sni, tenant)
		c.write(ldapBind)
		c.expect(`\A\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00`)
		c.write(ldapUnbind)
		require.Empty(t, c.end())
	})
	t.Run("verifies", func(t *testing.T) { p.requireVerifies(t) })
}

// TestPassthroughXMPP has a server for each tenant's domain, which must be asked for
// by that. The default one has a domain that no matcher knows.
func TestPassthroughXMPP(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "python3")
	ca := newAuthority(t)
	addrs := make(map[string]string)
	for _, tenant := range tenants {
		addrs[tenant] = tenantProsody(t, ca, tenant)
	}
	addrs[defaultTenant] = tenantProsody(t, ca, xmppHost)
	p := startPassthrough(t, ca, map[string]map[string]string{"xmpp": addrs})
	for sni, domain := range map[string]string{
		tenants[0]: tenants[0], tenants[1]: tenants[1], tenants[2]: tenants[2], "": xmppHost, "host.example.org": xmppHost,
	} {
		t.Run(domain+" "+sni, func(t *testing.T) {
			c := p.dialogue(t, "xmpp", sni, domain)
			c.write(strings.ReplaceAll(xmppHeader, xmppHost, domain))
			features := c.expect(`</stream:features>`)
			require.Regexp(t, `<stream:stream [^>]*from=.`+domain, features)
			require.Contains(t, features, "<mechanism>PLAIN</mechanism>")
			c.write("</stream:stream>")
			require.Equal(t, "</stream:stream>", c.end())
		})
	}
	t.Run("session", func(t *testing.T) {
		out, err := run(t, clientTimeout, "", "python3", "testdata/xmpp_client.py",
			port(t, p.addrs["xmpp"]), ca.file, xmppHost, xmppUser, xmppPassword)
		require.NoError(t, err, out)
		require.Contains(t, out, "verified: "+xmppHost+"\n")
		require.Contains(t, out, "message: 1000 words from alice@xmpp.example.com/test\n")
	})
	t.Run("verifies", func(t *testing.T) { p.requireVerifies(t) })
}

// tenantProsody runs an XMPP server for one domain, that demands TLS.
func tenantProsody(t testing.TB, ca *authority, domain string) string {
	t.Helper()
	cert, key := ca.issue(t, domain)
	settings := fmt.Sprintf("modules_disabled = { \"s2s\" }\nssl = { certificate = %q, key = %q }\n"+
		"c2s_require_encryption = true\nallow_unencrypted_plain_auth = false\n", cert, key)
	if domain != xmppHost {
		settings += fmt.Sprintf("VirtualHost %q", domain)
	}
	addr, _ := startProsodyWith(t, settings)
	return addr
}
