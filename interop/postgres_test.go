package interop

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// pgHost is the name that clients verify.
const pgHost = "db.example.com"

// The users of the database: one with a password, for SCRAM, and one without, for
// tests that speak the protocol by hand.
const (
	pgUser     = "alice"
	pgPassword = "open sesame"
	pgGuest    = "guest"
)

// postgres is a running PostgreSQL.
type postgres struct {
	*process
	addr   string
	socket string // the directory of its local socket
}

// startPostgres runs a PostgreSQL without TLS.
func startPostgres(t testing.TB) *postgres {
	t.Helper()
	return startPostgresWith(t, fmt.Sprintf(
		"host all %s 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n", pgGuest), "-c", "ssl=off")
}

// startPostgresWith makes a database cluster and runs a server on it, with rules for
// who may connect over TCP. PostgreSQL refuses to be root, so root's tests run it as
// the user that its package made.
func startPostgresWith(t testing.TB, rules string, settings ...string) *postgres {
	t.Helper()
	initdb, server := postgresProgram(t, "initdb"), postgresProgram(t, "postgres")
	dir := serverDir(t)
	as := asPostgresUser(t, dir)
	data := filepath.Join(dir, "data")
	hba := writeFile(t, dir, "pg_hba.conf", "local all all scram-sha-256\n"+rules)
	command := append(as, initdb, "-D", data, "--no-sync", "--locale=C", "--encoding=UTF8",
		"--auth=scram-sha-256", "--username="+pgUser, "--pwfile="+writeFile(t, dir, "password", pgPassword))
	out, err := run(t, startTimeout, "", command[0], command[1:]...)
	require.NoError(t, err, out)
	p := &postgres{addr: freeAddr(t), socket: dir}
	command = append(as, server, "-D", data, "-h", "127.0.0.1", "-p", port(t, p.addr), "-k", dir,
		"-c", "hba_file="+hba, "-c", "fsync=off", "-c", "autovacuum=off")
	p.process = startProcess(t, command[0], append(command[1:], settings...)...)
	eventually(t, startTimeout, "PostgreSQL", func() bool {
		require.False(t, p.Exited(), "PostgreSQL ended: %s", p.Log())
		_, err := p.psql(t, "CREATE ROLE "+pgGuest+" LOGIN")
		return err == nil
	})
	return p
}

// psql asks the server itself, past Caddy.
func (p *postgres) psql(t testing.TB, query string) (string, error) {
	t.Helper()
	return psql(t, fmt.Sprintf("host=%s port=%s dbname=postgres user=%s password='%s'",
		p.socket, port(t, p.addr), pgUser, pgPassword), query)
}

// postgresProgram finds a program that Debian keeps out of the path.
func postgresProgram(t testing.TB, name string) string {
	t.Helper()
	if path := program(name); path != "" {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		unavailable(t, "%s is not installed", name)
	}
	return found[len(found)-1]
}

// asPostgresUser returns the beginning of a command that gives up root, and gives
// the directory to whom the command will run as.
func asPostgresUser(t testing.TB, dir string) []string {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	need(t, "setpriv")
	account, err := user.Lookup("postgres")
	if err != nil {
		unavailable(t, "looking for somebody to run PostgreSQL as: %v", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(account.Gid)
	require.NoError(t, err)
	require.NoError(t, os.Chown(dir, uid, gid))
	as := []string{"setpriv", "--reuid", account.Uid, "--regid", account.Gid, "--clear-groups"}
	return as[:len(as):len(as)]
}

// pgLogin returns a connection string for libpq. The host name is for TLS alone.
func pgLogin(t testing.TB, addr string) string {
	t.Helper()
	return fmt.Sprintf("host=%s hostaddr=127.0.0.1 port=%s dbname=postgres user=%s password='%s' connect_timeout=10",
		pgHost, port(t, addr), pgUser, pgPassword)
}

// psql runs a query, or one of psql's own commands.
func psql(t testing.TB, login, query string) (string, error) {
	t.Helper()
	need(t, "psql")
	return run(t, clientTimeout, "", "psql", "-X", "-A", "-t", "-c", query, login)
}

// startPostgresFront runs Caddy in front of a database.
func startPostgresFront(t testing.TB, backend string, options ...string) *front {
	t.Helper()
	return startFront(t, "postgres", []string{pgHost}, backend, options...)
}

// verified returns a connection string with which libpq takes nothing but TLS with
// the right certificate.
func (f *front) verified(t testing.TB) string {
	t.Helper()
	return pgLogin(t, f.addr) + " sslmode=verify-full sslrootcert=" + f.Root()
}

// pgGarbage is no StartupMessage: the server answers it with an error and closes.
const pgGarbage = "\x00\x00\x00\x08\x00\x01\x00\x00"

func TestPostgresClients(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	f.requireUpgrades(t)
	for name, options := range map[string]string{
		"require":            "sslmode=require",
		"verify-full":        "sslmode=verify-full",
		"prefer":             "sslmode=prefer",
		"GSS preferred":      "sslmode=verify-full gssencmode=prefer",
		"no channel binding": "sslmode=verify-full channel_binding=disable",
		"TLS 1.2":            "sslmode=verify-full ssl_max_protocol_version=TLSv1.2",
	} {
		t.Run("psql "+name, func(t *testing.T) {
			login := pgLogin(t, f.addr) + " sslrootcert=" + f.Root() + " " + options
			out, err := psql(t, login, "SELECT 6*7, current_user")
			require.NoError(t, err, out)
			require.Equal(t, "42|alice\n", out)
			out, err = psql(t, login, `\conninfo`)
			require.NoError(t, err, out)
			require.Regexp(t, `SSL connection \(protocol: TLSv1\.[23],`, out)
		})
	}
	t.Run("psycopg2", func(t *testing.T) {
		out, err := debianPython(t, "psycopg2", "testdata/postgres_client.py", f.verified(t))
		require.NoError(t, err, out)
		require.Equal(t, "sum: 50005000\nssl: on TLSv1.3\nerror: 57014\ncancelled: 57014\nstill: 1\n", out)
	})
	t.Run("ALPN", func(t *testing.T) { f.requireALPN(t, "postgresql") })
	t.Run("resumption", func(t *testing.T) { f.requireResumption(t, pgGarbage) })
}

// TestPostgresVerifies shows that the client of the other tests would have noticed
// a wrong certificate, and what a real server cannot have with TLS in front of it.
func TestPostgresVerifies(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr)
	out, err := psql(t, f.verified(t)+" host=other.example.com sslsni=0", "SELECT 1")
	require.Error(t, err, out)
	require.Contains(t, out, `server certificate for "`+pgHost+`" does not match host name "other.example.com"`)

	out, err = psql(t, f.verified(t)+" channel_binding=require", "SELECT 1")
	require.Error(t, err, out)
	require.Contains(t, out, "channel binding is required")

	out, err = psql(t, f.verified(t)+" password=wrong", "SELECT 1")
	require.Error(t, err, out)
	require.Contains(t, out, `password authentication failed for user "alice"`)
}
