package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPostgresRefusesPlaintext logs in without TLS. psql shows the refusal and, as
// it contains an error message, would try TLS if it was allowed to.
func TestPostgresRefusesPlaintext(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startPostgresFront(t, backend)
	out, err := psql(t, pgLogin(t, f.addr)+" sslmode=disable", "SELECT 1")
	require.Error(t, err)
	require.Contains(t, out, "FATAL: ")
	require.Contains(t, out, "TLS")
	reply := plainReply(t, f.addr, pgStartup(pgUser))
	require.True(t, strings.HasPrefix(reply, "E"), "%q", reply)
	require.Contains(t, reply, "\x00C28000\x00")
	require.Zero(t, connections(), "a client without TLS reached the backend")
}

// TestPostgresAllow has a client that would rather do without TLS, and that takes
// it up when the refusal says so.
func TestPostgresAllow(t *testing.T) {
	t.Parallel()
	f := startPostgresFront(t, startPostgres(t).addr)
	out, err := psql(t, pgLogin(t, f.addr)+" sslmode=allow", `\conninfo`)
	require.NoError(t, err, out)
	require.Contains(t, out, "SSL connection (protocol: TLSv1.3,")
}

// TestPostgresRefusesInjection puts a login right behind the upgrade request, as an
// attacker on the path would (CVE-2021-23214).
func TestPostgresRefusesInjection(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startPostgresFront(t, backend)
	reply := plainReply(t, f.addr, pgSSLRequest+pgStartup(pgUser))
	require.False(t, strings.HasPrefix(reply, "S"), "the upgrade went ahead: %q", reply)
	require.Zero(t, connections())
}

// TestPostgresBackendDown has nothing listen behind Caddy. The error is the one with
// which a client that knows several servers tries the next of them.
func TestPostgresBackendDown(t *testing.T) {
	t.Parallel()
	f := startPostgresFront(t, freeAddr(t))
	out, err := psql(t, f.verified(t), "SELECT 1")
	require.Error(t, err, out)
	require.Contains(t, out, "FATAL: ")
	require.NotContains(t, out, "server closed the connection unexpectedly")

	db := startPostgres(t)
	second := startPostgresFront(t, db.addr)
	login := fmt.Sprintf("host=%s,%s hostaddr=127.0.0.1,127.0.0.1 port=%s,%s dbname=postgres user=%s password='%s' sslmode=require",
		pgHost, pgHost, port(t, f.addr), port(t, second.addr), pgUser, pgPassword)
	out, err = psql(t, login, "SELECT 'from the second'")
	require.NoError(t, err, out)
	require.Equal(t, "from the second\n", out)
}

// TestPostgresClientCertificate demands a certificate of the client. PostgreSQL
// itself can do so only with TLS of its own.
func TestPostgresClientCertificate(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	trusted, key := selfSigned(t, "client.example.com")
	f := startPostgresFront(t, db.addr, `connection_policy {
		client_auth {
			mode require_and_verify
			trust_pool file {
				pem_file `+trusted+`
			}
		}
	}`)
	out, err := psql(t, f.verified(t)+clientCertificate(t, trusted, key), "SELECT 1")
	require.NoError(t, err, out)
	require.Equal(t, "1\n", out)

	out, err = psql(t, f.verified(t)+" sslcert=none", "SELECT 1")
	require.Error(t, err, out)
	require.Contains(t, out, "certificate required")

	other, otherKey := selfSigned(t, "client.example.com")
	out, err = psql(t, f.verified(t)+clientCertificate(t, other, otherKey), "SELECT 1")
	require.Error(t, err, out)
	require.Regexp(t, "unknown certificate authority|bad certificate|unknown ca", out)
}

// clientCertificate returns the part of a connection string. libpq takes only keys
// that nobody else can read.
func clientCertificate(t testing.TB, cert, key string) string {
	t.Helper()
	require.NoError(t, os.Chmod(key, 0o600))
	return " sslcert=" + cert + " sslkey=" + key
}

// TestPostgresHostnames has two hostnames, each with a certificate of its own.
func TestPostgresHostnames(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	hosts := []string{"a.example.com", "b.example.com"}
	f := startFront(t, "postgres", hosts, db.addr)
	for _, host := range hosts {
		out, err := psql(t, f.verified(t)+" host="+host, "SELECT 1")
		require.NoError(t, err, out)
		out, err = f.sClient(t, "", "-brief", "-servername", host, "-verify_hostname", host)
		require.NoError(t, err, out)
		require.Contains(t, out, "Verified peername: "+host)
	}
	out, err := psql(t, f.verified(t)+" host=a.example.com sslsni=0", "SELECT 1")
	require.NoError(t, err, "without SNI, the first hostname's certificate is due: %s", out)
	out, err = psql(t, f.verified(t)+" host=b.example.com sslsni=0", "SELECT 1")
	require.Error(t, err, out)
	require.Contains(t, out, `server certificate for "a.example.com"`)
}

// TestPostgresPassthrough leaves TLS to Caddy's own handler.
func TestPostgresPassthrough(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := &front{proto: "postgres", host: pgHost, addr: freeAddr(t)}
	other := freeAddr(t)
	config := fmt.Sprintf(`%s {
		route {
			starttls postgres {
				passthrough
			}
			subroute {
				@db tls sni %s
				route @db {
					tls
					proxy %s
				}
			}
		}
	}
	%s {
		route {
			starttls postgres %s
			proxy %s
		}
	}`, f.addr, pgHost, db.addr, other, pgHost, db.addr)
	f.caddyServer = startCaddy(t, config, []string{pgHost}, f.addr, other)
	out, err := psql(t, f.verified(t), "SELECT 'passed through'")
	require.NoError(t, err, out)
	require.Equal(t, "passed through\n", out)
}

// TestPostgresOptional lets clients stay in plaintext that do not ask for TLS, and
// upgrades the others all the same. A CancelRequest in plaintext then works, too.
func TestPostgresOptional(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr, "policy optional")
	for mode, want := range map[string]string{"disable": "", "prefer": "SSL connection", "require": "SSL connection"} {
		login := pgLogin(t, f.addr) + " sslmode=" + mode
		out, err := psql(t, login, "SELECT current_user")
		require.NoError(t, err, out)
		require.Equal(t, "alice\n", out)
		out, err = psql(t, login, `\conninfo`)
		require.NoError(t, err, out)
		require.Contains(t, out, want)
		require.Equal(t, want != "", strings.Contains(out, "SSL"), out)
	}
	f.interruptPsql(t, db, "SELECT pg_sleep(20)")
	require.Contains(t, db.Log(), "canceling statement due to user request")
}
