package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mysqlHost is the name that clients verify.
const mysqlHost = "db.example.com"

// The users of the database, who have the same password: one by mysql_native_password, one by
// client_ed25519, and one whom a session changes to.
const (
	mysqlUser     = "alice"
	mysqlEd25519  = "edward"
	mysqlChanged  = "alice2"
	mysqlPassword = "open sesame"
)

// mysqlTools has programs of Go modules: a server that encrypts passwords, and a client.
var mysqlTools = build{module: "testdata/mysql", packages: []string{"."}}

func mysqlTool(t testing.TB) string {
	t.Helper()
	dir, err := mysqlTools.programs()
	if err != nil {
		unavailable(t, "%v", err)
	}
	return filepath.Join(dir, "mysql")
}

// mariaDB is a running MariaDB.
type mariaDB struct {
	*process
	addr, socket string
}

// startMariaDB runs a MariaDB with the two users, without TLS unless the settings say so.
func startMariaDB(t testing.TB, settings ...string) *mariaDB {
	t.Helper()
	need(t, "mariadb", "mariadb-install-db", "mariadbd")
	dir := serverDir(t)
	as := "--user="
	if os.Geteuid() == 0 {
		as += "root"
	}
	data := filepath.Join(dir, "data")
	out, err := run(t, startTimeout, "", "mariadb-install-db", "--no-defaults", as, "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	require.NoError(t, err, out)
	db := &mariaDB{addr: freeAddr(t), socket: filepath.Join(dir, "socket")}
	db.process = startProcess(t, "mariadbd", append([]string{
		"--no-defaults", as, "--datadir=" + data, "--socket=" + db.socket, "--pid-file=" + filepath.Join(dir, "pid"),
		"--port=" + port(t, db.addr), "--bind-address=127.0.0.1", "--skip-name-resolve", "--local-infile=ON", "--skip-log-bin",
		"--plugin-load-add=auth_ed25519",
	}, settings...)...)
	users := fmt.Sprintf("CREATE USER %[1]s@'%%' IDENTIFIED BY '%[3]s'; CREATE USER %[2]s@'%%' IDENTIFIED VIA ed25519 USING PASSWORD('%[3]s'); "+
		"CREATE USER %[4]s@'%%' IDENTIFIED BY '%[3]s'; "+
		"CREATE DATABASE app; GRANT ALL ON app.* TO %[1]s@'%%'; GRANT ALL ON app.* TO %[2]s@'%%'", mysqlUser, mysqlEd25519, mysqlPassword, mysqlChanged)
	eventually(t, startTimeout, "MariaDB", func() bool {
		require.False(t, db.Exited(), "MariaDB ended: %s", db.Log())
		_, err := run(t, clientTimeout, "", "mariadb", "--no-defaults", "--socket="+db.socket, "--user=root", "--execute="+users)
		return err == nil
	})
	return db
}

// mariadb runs a query with Debian's client.
func mariadb(t testing.TB, addr, user, query string, options ...string) (string, error) {
	t.Helper()
	need(t, "mariadb")
	args := []string{
		"--no-defaults", "--host=127.0.0.1", "--port=" + port(t, addr), "--user=" + user, "--password=" + mysqlPassword,
		"--database=app", "--batch", "--skip-column-names", "--execute=" + query,
	}
	return run(t, clientTimeout, "", "mariadb", append(args, options...)...)
}

// goClient runs a query twice with go-sql-driver, once prepared, and verifies the certificate
// if there is a root.
func goClient(t testing.TB, addr, user, root, query string) (string, error) {
	t.Helper()
	return run(t, clientTimeout, "", mysqlTool(t), "client", addr, user, mysqlPassword, root, query)
}

// runMySQL2 runs a session with the npm package mysql2, which it installs.
func runMySQL2(t testing.TB, args ...string) (string, error) {
	t.Helper()
	need(t, "node", "npm")
	dir := t.TempDir()
	script, err := os.ReadFile("testdata/mysql_client.js")
	require.NoError(t, err)
	client := writeFile(t, dir, "client.js", string(script))
	if out, err := run(t, clientTimeout, "", "npm", "install", "--no-audit", "--no-fund", "--prefix", dir, "mysql2@3"); err != nil {
		unavailable(t, "mysql2 cannot be installed: %s", out)
	}
	return run(t, clientTimeout, "", "node", append([]string{client}, args...)...)
}

func TestMySQLClients(t *testing.T) {
	t.Parallel()
	db := startMariaDB(t)
	f := startFront(t, "mysql", []string{mysqlHost}, db.addr)
	out, err := f.sClient(t, "", "-brief", "-noservername")
	require.NoError(t, err, out)
	require.Contains(t, out, "Verification: OK")
	verified := []string{"--ssl-ca=" + f.Root()}
	for _, user := range []string{mysqlUser, mysqlEd25519} {
		for name, options := range map[string][]string{"uncompressed": nil, "compressed": {"--compress"}, "TLS 1.2": {"--tls-version=TLSv1.2"}} {
			t.Run("mariadb "+user+" "+name, func(t *testing.T) {
				out, err := mariadb(t, f.addr, user, `SELECT 6*7, substring_index(user(), "@", 1)`, append(options, verified...)...)
				require.NoError(t, err, out)
				require.Equal(t, "42\t"+user+"\n", out)
			})
		}
	}
	t.Run("a large result", func(t *testing.T) {
		const query = `SELECT REPEAT("x", 1000000) FROM seq_1_to_40`
		out, err := mariadb(t, f.addr, mysqlUser, query, verified...)
		require.NoError(t, err)
		require.Len(t, out, 40*1000001)
	})
	t.Run("LOCAL INFILE", func(t *testing.T) {
		file := writeFile(t, t.TempDir(), "rows.txt", strings.Repeat("some words\n", 100000))
		query := fmt.Sprintf(`CREATE TABLE words (w TEXT); LOAD DATA LOCAL INFILE "%s" INTO TABLE words; SELECT COUNT(*) FROM words`, file)
		out, err := mariadb(t, f.addr, mysqlUser, query, append(verified, "--local-infile=1")...)
		require.NoError(t, err, out)
		require.Contains(t, out, "100000\n")
	})
	t.Run("go-sql-driver", func(t *testing.T) {
		for _, user := range []string{mysqlUser, mysqlEd25519} {
			out, err := goClient(t, f.addr, user, f.Root(), `SELECT CONCAT(6*7)`)
			require.NoError(t, err, out)
			require.Equal(t, "42\n42\n", out)
		}
	})
	t.Run("PyMySQL", func(t *testing.T) {
		out, err := debianPython(t, "pymysql", "testdata/mysql_client.py", port(t, f.addr), mysqlUser, mysqlPassword, f.Root())
		require.NoError(t, err, out)
		require.Equal(t, "sum: 50005000\ntls: TLSv1.3\nagain: 1\n", out)
	})
	t.Run("mysql2, which changes the user", func(t *testing.T) {
		out, err := runMySQL2(t, port(t, f.addr), mysqlUser, mysqlPassword, f.Root(), mysqlChanged)
		require.NoError(t, err, out)
		require.Equal(t, "42\n42\n"+mysqlChanged+"\n", out)
	})
	t.Run("Connector/J", func(t *testing.T) {
		const jar = "/usr/share/java/mariadb-java-client.jar"
		need(t, "java")
		if _, err := os.Stat(jar); err != nil {
			unavailable(t, "Connector/J is not installed")
		}
		url := fmt.Sprintf("jdbc:mariadb://127.0.0.1:%s/app?user=%s&password=%s&useSSL=true&serverSslCert=%s&disableSslHostnameVerification=true",
			port(t, f.addr), mysqlUser, mysqlPassword, f.Root())
		out, err := run(t, clientTimeout, "", "java", "-cp", jar, "testdata/MySQLQuery.java", url)
		require.NoError(t, err, out)
		require.Equal(t, "42\n42\n", out)
	})
}

// A client that does not ask for TLS gets MySQL's own error, and the backend none of what it
// said.
func TestMySQLRefusesPlaintext(t *testing.T) {
	t.Parallel()
	db := startMariaDB(t)
	tap := startTap(t, db.addr)
	f := startFront(t, "mysql", []string{mysqlHost}, tap.addr)
	out, err := mariadb(t, f.addr, mysqlUser, "SELECT 1", "--skip-ssl")
	require.Error(t, err)
	require.Contains(t, out, "ERROR 3159 (HY000): Connections using insecure transport are prohibited")
	tap.requireNone(t, mysqlUser)
	out, err = mariadb(t, f.addr, "nobody", "SELECT 1", "--ssl-ca="+f.Root())
	require.Error(t, err)
	require.Contains(t, out, "ERROR 1045 (28000): Access denied for user 'nobody'@")

	optional := startFront(t, "mysql", []string{mysqlHost}, db.addr, "policy optional")
	for _, way := range []string{"--skip-ssl", "--ssl-ca=" + optional.Root()} {
		out, err := mariadb(t, optional.addr, mysqlUser, "SELECT 6*7", way)
		require.NoError(t, err, out)
		require.Equal(t, "42\n", out)
	}

	down := startFront(t, "mysql", []string{mysqlHost}, freeAddr(t))
	out, err = mariadb(t, down.addr, mysqlUser, "SELECT 1")
	require.Error(t, err)
	require.Contains(t, out, "Can't connect to the MySQL server behind")
}

// Clients in plaintext, with TLS from the first byte and with an upgrade reach servers that
// have none, that begin with it, and that demand the upgrade.
func TestMySQLMatrix(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, upHost)
	plain, demanding := startMariaDB(t), startMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key, "--require-secure-transport=ON")
	ups := map[string]string{
		"plain": "proxy " + plain.addr,
		"tls": fmt.Sprintf("proxy {\nupstream {\ndial %s\ntls\ntls_server_name %s\ntls_trust_pool file %s\n}\n}",
			startTerminator(t, ca, plain.addr), upHost, ca.file),
		"starttls": upgradeUpstream("mysql", demanding.addr, upHost, ca),
		"optional": upgradeUpstream("mysql", plain.addr, upHost, ca, "policy optional"),
		"refused":  upgradeUpstream("mysql", plain.addr, upHost, ca),
	}
	handlers := make(map[string]string)
	for way, up := range ups {
		handlers["plain "+way], handlers["tls "+way], handlers["starttls "+way] = up, "tls\n"+up, "starttls mysql "+mysqlHost+"\n"+up
	}
	r := startRoutes(t, []string{mysqlHost}, handlers)
	roots := map[string]string{"plain": "", "tls": "first:" + r.Root(), "starttls": r.Root()}
	for down, root := range roots {
		for up := range ups {
			t.Run(down+" "+up, func(t *testing.T) {
				out, err := goClient(t, r.addr[down+" "+up], mysqlUser, root, `SELECT CONCAT(6*7)`)
				if up == "refused" {
					require.Error(t, err)
					require.Contains(t, out, "Upstream does not offer TLS")
					return
				}
				require.NoError(t, err, out)
				require.Equal(t, "42\n42\n", out)
			})
		}
	}
	out, err := mariadb(t, r.addr["plain starttls"], mysqlUser, `SHOW STATUS LIKE "Ssl_version"`, "--skip-ssl")
	require.NoError(t, err, out)
	require.Equal(t, "Ssl_version\tTLSv1.3\n", out)
}

// A server that needs the whole password, and no TLS, gets it encrypted; one inside TLS gets
// it as it is, also from a client that would encrypt it.
func TestMySQLWholePasswords(t *testing.T) {
	t.Parallel()
	for _, plugin := range []string{"caching_sha2_password", "sha256_password"} {
		t.Run(plugin, func(t *testing.T) {
			addr := freeAddr(t)
			startProcess(t, mysqlTool(t), "server", addr, plugin)
			waitTCP(t, addr)
			up := "starttls_upstream mysql {\ntls_insecure_skip_verify\n}\nproxy "
			tap, hidden := startTap(t, addr), startTap(t, addr)
			r := startRoutes(t, []string{mysqlHost}, map[string]string{
				"starttls": "starttls mysql " + mysqlHost + "\nproxy " + tap.addr,
				"upstream": up + hidden.addr, "both": "starttls mysql " + mysqlHost + "\n" + up + hidden.addr,
			})
			for name, root := range map[string]string{"starttls": r.Root(), "upstream": "", "both": r.Root()} {
				for range 2 { // the second time the server knows the password
					out, err := goClient(t, r.addr[name], mysqlUser, root, "SELECT 6*7")
					require.NoError(t, err, "%s: %s", name, out)
					require.Equal(t, "42\n42\n", out)
				}
			}
			tap.requireNone(t, mysqlPassword)
			hidden.requireNone(t, mysqlPassword, mysqlUser)
			out, err := run(t, clientTimeout, "", mysqlTool(t), "client", r.addr["starttls"], mysqlUser, "wrong", r.Root(), "SELECT 6*7")
			require.Error(t, err)
			require.Contains(t, out, "Access denied")
		})
	}
}
