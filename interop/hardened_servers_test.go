package interop

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// upHost is the name in the certificates of the servers that demand TLS. In XMPP, a
// server goes by its domain.
const upHost = "up.example.com"

// hardenedIP is where Dovecot must listen to tell its clients from itself.
const hardenedIP = "127.0.0.5"

// hardened is a server that demands TLS: at its address after an upgrade, at the
// other one, if it has that, from the first byte.
type hardened struct {
	addr, implicit string
	log            func() string
}

// hardenedDovecot runs a Dovecot with `ssl = required`. It is keyed by protocol. LMTP
// only offers TLS, since Dovecot cannot demand it there.
func hardenedDovecot(t testing.TB, ca *authority) (*dovecot, map[string]*hardened) {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	imaps, pop3s := freeAddrOn(t, hardenedIP), freeAddrOn(t, hardenedIP)
	d := startDovecotOn(t, hardenedIP, fmt.Sprintf("ssl = required\nssl_cert = <%s\nssl_key = <%s", cert, key),
		fmt.Sprintf(dovecotImplicit, port(t, imaps), port(t, pop3s)))
	waitTCP(t, imaps)
	waitTCP(t, pop3s)
	return d, map[string]*hardened{
		"imap":  {d.imap, imaps, d.Log},
		"pop3":  {d.pop3, pop3s, d.Log},
		"sieve": {d.sieve, "", d.Log},
		"lmtp":  {d.lmtp, "", d.Log},
	}
}

const dovecotImplicit = `
auth_verbose = yes
service imap-login {
  inet_listener imaps {
    port = %s
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3s {
    port = %s
    ssl = yes
  }
}
`

// hardenedPostfix runs a Postfix with `smtpd_tls_security_level = encrypt`.
func hardenedPostfix(t testing.TB, ca *authority, d *dovecot, settings string) *hardened {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	h := &hardened{implicit: freeAddr(t)}
	var log string
	h.addr, log = startPostfixWith(t, d, fmt.Sprintf(`
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
smtpd_tls_loglevel = 1
%s`, cert, key, settings), h.implicit+" inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n")
	h.log = func() string {
		text, _ := os.ReadFile(log)
		return string(text)
	}
	return h
}

// hardenedSlapd runs an OpenLDAP server with `security tls=1`.
func hardenedSlapd(t testing.TB, ca *authority) *hardened {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	h := &hardened{addr: freeAddr(t), implicit: freeAddr(t)}
	h.log = startSlapdWith(t, fmt.Sprintf("TLSCertificateFile %s\nTLSCertificateKeyFile %s\nsecurity tls=1", cert, key),
		"ldap://"+h.addr, "ldaps://"+h.implicit).Log
	return h
}

// hardenedProsody runs an XMPP server with c2s_require_encryption.
func hardenedProsody(t testing.TB, ca *authority) *hardened {
	t.Helper()
	cert, key := ca.issue(t, xmppHost)
	h := &hardened{implicit: freeAddr(t)}
	var p *process
	h.addr, p = startProsodyWith(t, fmt.Sprintf(`
modules_disabled = { "s2s" }
ssl = { certificate = %q, key = %q }
c2s_require_encryption = true
allow_unencrypted_plain_auth = false
c2s_direct_tls_ports = { %s }
c2s_direct_tls_ssl = { certificate = %[1]q, key = %[2]q }`, cert, key, port(t, h.implicit)))
	h.log = p.Log
	waitTCP(t, h.implicit)
	return h
}

// hardenedPostgres runs a PostgreSQL that lets nobody in without TLS: pgUser needs a
// certificate of the CA's as well as a password, pgGuest neither, and pgClear must not
// use TLS.
func hardenedPostgres(t testing.TB, ca *authority) *postgres {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	require.NoError(t, os.Chmod(key, 0o600))
	asPostgresUser(t, key)
	db := startPostgresWith(t, fmt.Sprintf(`
hostssl all %s 127.0.0.1/32 scram-sha-256 clientcert=verify-full
hostssl all %s 127.0.0.1/32 trust
hostnossl all %s 127.0.0.1/32 trust
`, pgUser, pgGuest, pgClear), "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key,
		"-c", "ssl_ca_file="+ca.file, "-c", "log_connections=on")
	out, err := db.psql(t, "CREATE ROLE "+pgClear+" LOGIN")
	require.NoError(t, err, out)
	return db
}

// pgClear is a user for servers that are reached in plaintext.
const pgClear = "clear"

// routes is a Caddy with a number of routes, each on an address of its own.
type routes struct {
	*caddyServer
	addr map[string]string
	alpn []string // what clients offer, if they do
}

// startRoutes runs Caddy with these handlers, which are keyed by route.
func startRoutes(t testing.TB, hosts []string, handlers map[string]string) *routes {
	t.Helper()
	r := &routes{addr: make(map[string]string)}
	var config string
	var addrs []string
	for name, handle := range handlers {
		r.addr[name] = freeAddr(t)
		addrs = append(addrs, r.addr[name])
		config += fmt.Sprintf("%s {\nroute {\n%s\n}\n}\n", r.addr[name], handle)
	}
	r.caddyServer = startCaddy(t, config, hosts, addrs...)
	return r
}

// upgradeUpstream returns the handlers that reach a server after an upgrade.
func upgradeUpstream(proto, backend, host string, ca *authority, more ...string) string {
	options := ""
	for _, option := range more {
		options += "\n" + option
	}
	return fmt.Sprintf("starttls_upstream %s {\ntls_server_name %s\ntls_trust_pool file %s%s\n}\nproxy %s",
		proto, host, ca.file, options, backend)
}

// mailFront lets the clients of a mailFront use the routes, which are named after
// protocols.
func (r *routes) mailFront() *mailFront { return &mailFront{r.caddyServer, r.addr} }

// front is one of the routes.
func (r *routes) front(proto, name string) *front {
	return &front{caddyServer: r.caddyServer, proto: proto, addr: r.addr[name]}
}
