package interop

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// balancerConf is the listener of the example's README.
const balancerConf = `
defaults
	timeout connect 10s
	timeout client 30s
	timeout server 30s
listen submission
	mode tcp
	bind %s
	server caddy1 %s send-proxy-v2
`

// TestExampleBalanced has HAProxy in front of Caddy. Postfix sees the client of HAProxy.
func TestExampleBalanced(t *testing.T) {
	t.Parallel()
	need(t, "haproxy", "swaks")
	mx := &publicMX{dovecot: startDovecot(t, tlsOff)}
	var backend string
	backend, mx.log = startPostfixWith(t, mx.dovecot, mxSettings, "")
	addr, balanced := freeAddr(t), freeAddr(t)
	c := startExample(t, "balanced", "", map[string]string{
		":587": addr, "10.0.0.0/24": "127.0.0.1/32", "5s": "2s", "127.0.0.1:10587": backend,
	}, []string{mailHost}, addr)
	startProcess(t, "haproxy", "-db", "-f", writeFile(t, t.TempDir(), "haproxy.cfg", fmt.Sprintf(balancerConf, balanced, addr)))
	waitTCP(t, balanced)
	mx.front = &front{caddyServer: c, proto: "smtp", host: mailHost, addr: balanced}
	out, err := mx.swaks(t, "--tls", "--tls-verify", "--tls-ca-path", c.Root())
	require.NoError(t, err, out)
	mx.dovecot.delivered(t, 1)
	mx.dovecot.requireReceived(t, `from client\.example \(unknown \[127\.0\.0\.9\]\)`)
	requireLogged(t, mx.log, `: client=unknown\[127\.0\.0\.9\]`)

	t.Run("a header that is late", func(t *testing.T) {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(clientTimeout)))
		got, err := conn.Read(make([]byte, 1))
		require.Error(t, err, "nobody is greeted without the header, and nobody waits for ever")
		require.Zero(t, got)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// pgbouncerConf is that of the example's README, with what the test's database needs.
const pgbouncerConf = `[databases]
postgres = host=127.0.0.1 port=%[1]s dbname=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[2]s
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %[3]s
pool_mode = transaction
`

// startPgBouncer runs one, with further settings, of which the last counts.
func startPgBouncer(t testing.TB, addr, database, settings string) {
	t.Helper()
	need(t, "pgbouncer")
	dir := serverDir(t)
	users := writeFile(t, dir, "userlist.txt", fmt.Sprintf("%q %q\n", pgUser, pgPassword))
	config := writeFile(t, dir, "pgbouncer.ini", fmt.Sprintf(pgbouncerConf, port(t, database), port(t, addr), users)+settings)
	var as []string
	for _, path := range []string{dir, users, config} {
		as = asPostgresUser(t, path)
	}
	command := append(as, "pgbouncer", config)
	startProcess(t, command[0], command[1:]...)
	waitTCP(t, addr)
}

// TestExamplePooled has a client that verifies Caddy, and a database that wants TLS, with a
// PgBouncer between that has none.
func TestExamplePooled(t *testing.T) {
	t.Parallel()
	need(t, "psql")
	ca := newAuthority(t)
	const provider = "db.provider.example"
	cert, key := ca.issue(t, provider)
	require.NoError(t, os.Chmod(key, 0o600))
	asPostgresUser(t, key)
	db := startPostgresWith(t, "hostssl all all 127.0.0.1/32 scram-sha-256\n", "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
	addr, pooled, out := freeAddr(t), freeAddr(t), freeAddr(t)
	c := startExample(t, "pooled", "", map[string]string{
		":5432": addr, "127.0.0.1:6432": pooled, "127.0.0.1:5433": out, provider + ":5432": db.addr,
		"tls_server_name": "tls_trust_pool file " + ca.file + "\n\t\t\t\t\ttls_server_name",
	}, []string{pgHost}, addr, out)
	startPgBouncer(t, pooled, out, "server_tls_sslmode = disable\n")
	f := &front{caddyServer: c, proto: "postgres", host: pgHost, addr: addr}
	answer, err := psql(t, f.verified(t), "SELECT current_user, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
	require.NoError(t, err, answer)
	require.Equal(t, pgUser+"|t\n", answer)
	answer, err = psql(t, pgLogin(t, db.addr)+" sslmode=disable", "SELECT 1")
	require.Error(t, err, "the database itself wants TLS: %s", answer)
}

// pgbouncerTLS are the settings of a PgBouncer that has TLS of its own, and demands it of all but Caddy.
const pgbouncerTLS = `client_tls_sslmode = allow
client_tls_cert_file = %s
client_tls_key_file = %s
auth_type = hba
auth_hba_file = %s
`

// TestExamplePooledBeside has clients that come to PgBouncer by Caddy, past it, and through it with their
// TLS as it is.
func TestExamplePooledBeside(t *testing.T) {
	t.Parallel()
	need(t, "psql", "socat")
	ca := newAuthority(t)
	cert, key := ca.issue(t, pgHost)
	require.NoError(t, os.Chmod(key, 0o600))
	asPostgresUser(t, key)
	hba := writeFile(t, serverDir(t), "pgbouncer_hba.conf", "host all all 127.0.0.1/32 scram-sha-256\nhostssl all all 0.0.0.0/0 scram-sha-256\n")
	addr, through, pooled := freeAddr(t), freeAddr(t), freeAddr(t)
	startPgBouncer(t, pooled, startPostgres(t).addr, fmt.Sprintf(pgbouncerTLS, cert, key, hba))
	c := startExample(t, "pooled", "", map[string]string{":5432": addr, "127.0.0.1:6432": pooled, "127.0.0.1:5433": freeAddr(t)}, []string{pgHost}, addr)
	startCaddy(t, fmt.Sprintf("%s {\nroute {\nstarttls postgres {\npassthrough\n}\nstarttls_upstream postgres {\npassthrough\n}\nproxy %s\n}\n}", through, pooled), nil, through)
	past := startRelayFrom(t, "127.0.0.9", pooled)
	for name, test := range map[string]struct{ addr, sslmode, root string }{
		"TLS ends at Caddy":               {addr, "verify-full", c.Root()},
		"TLS ends at PgBouncer":           {past, "verify-full", ca.file},
		"TLS goes through to PgBouncer":   {through, "verify-full", ca.file},
		"no TLS, and not from Caddy":      {past, "disable", ""},
		"no TLS at Caddy":                 {addr, "disable", ""},
		"no TLS, where it would go along": {through, "disable", ""},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := psql(t, pgLogin(t, test.addr)+" sslmode="+test.sslmode+" sslrootcert="+test.root, "SELECT current_user")
			require.Equal(t, test.root != "", err == nil, answer)
			if err == nil {
				require.Equal(t, pgUser+"\n", answer)
			}
		})
	}
}

// startRelayFrom has connections go on from an address of their own.
func startRelayFrom(t testing.TB, source, target string) (addr string) {
	t.Helper()
	addr = freeAddr(t)
	startProcess(t, "socat", "TCP-LISTEN:"+port(t, addr)+",bind=127.0.0.1,fork,reuseaddr", "TCP:"+target+",bind="+source)
	waitTCP(t, addr)
	return addr
}

// TestExampleDirectory has clients of both ports, and an OpenLDAP that learns who they are.
func TestExampleDirectory(t *testing.T) {
	t.Parallel()
	need(t, "openssl", "slapd")
	const host = "ldap.example.com"
	addr, direct, backend := freeAddr(t), freeAddr(t), freeAddr(t)
	server := startSlapdWith(t, "", "pldap://"+backend)
	c := startExample(t, "directory", "", map[string]string{":389": addr, ":636": direct, "127.0.0.1:10389": backend}, []string{host}, addr, direct)
	for i, args := range [][]string{{"-connect", addr, "-starttls", "ldap"}, {"-connect", direct}} {
		d := startDialogue(t, "openssl", append([]string{
			"s_client", "-quiet", "-nocommands", "-bind", proxyClient, "-servername", host, "-verify_hostname", host, "-verify_return_error", "-CAfile", c.Root(),
		}, args...)...)
		d.write(ldapBind)
		d.expect(`\A\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00`)
		d.write(ldapUnbind)
		require.Empty(t, d.end())
		requireLogged(t, server.LogFile(), fmt.Sprintf(`(?s)(ACCEPT from IP=127\.0\.0\.9:.*){%d}`, i+1))
	}
}
