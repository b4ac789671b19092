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
	tmp := "--tmpdir=" + dir // one that starts removes the temporary tables of others
	out, err := run(t, startTimeout, "", "mariadb-install-db", "--no-defaults", as, tmp, "--datadir="+data,
		"--auth-root-authentication-method=normal", "--skip-test-db")
	require.NoError(t, err, out)
	db := &mariaDB{addr: freeAddr(t), socket: filepath.Join(dir, "socket")}
	db.process = startProcess(t, "mariadbd", append([]string{
		"--no-defaults", as, tmp, "--datadir=" + data, "--socket=" + db.socket, "--pid-file=" + filepath.Join(dir, "pid"),
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

// verifiedBy has mariadb want TLS with a certificate for localhost.
func verifiedBy(root string) []string {
	return []string{"--ssl-ca=" + root, "--ssl-verify-server-cert"}
}

// mariadb runs a query with Debian's client, at localhost.
func mariadb(t testing.TB, addr, user, query string, options ...string) (string, error) {
	t.Helper()
	need(t, "mariadb")
	args := []string{
		"--no-defaults", "--host=localhost", "--protocol=tcp", "--port=" + port(t, addr), "--user=" + user, "--password=" + mysqlPassword,
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

// mysql2Package has the npm package mysql2, and mysqlJava a program for Connector/J.
var (
	mysql2Package = build{command: func(dir string) []string {
		return []string{"npm", "install", "--no-audit", "--no-fund", "--prefix", dir, "mysql2@3"}
	}}
	mysqlJava = build{command: func(dir string) []string { return []string{"javac", "-d", dir, "testdata/MySQLQuery.java"} }}
)

// runMySQL2 runs a session with mysql2.
func runMySQL2(t testing.TB, args ...string) (string, error) {
	t.Helper()
	need(t, "node", "npm")
	dir, err := mysql2Package.programs()
	if err != nil {
		unavailable(t, "%v", err)
	}
	return run(t, clientTimeout, "", "env", append([]string{"NODE_PATH=" + dir + "/node_modules", "node", "testdata/mysql_client.js"}, args...)...)
}

// connectorJ runs a session with MariaDB's connector for Java, which Debian has.
func connectorJ(t testing.TB, f *front, options string, args ...string) (string, error) {
	t.Helper()
	const jar = "/usr/share/java/mariadb-java-client.jar"
	need(t, "java", "javac")
	if _, err := os.Stat(jar); err != nil {
		unavailable(t, "Connector/J is not installed")
	}
	dir, err := mysqlJava.programs()
	require.NoError(t, err)
	url := fmt.Sprintf("jdbc:mariadb://localhost:%s/?user=%s&password=%s&useSSL=true&allowLocalInfile=true&serverSslCert=%s%s",
		port(t, f.addr), mysqlUser, mysqlPassword, f.Root(), options)
	return run(t, clientTimeout, "", "java", append([]string{"-cp", jar + ":" + dir, "MySQLQuery", url}, args...)...)
}

func TestMySQLClients(t *testing.T) {
	t.Parallel()
	db := startMariaDB(t, "--max-allowed-packet=64M")
	f := startFront(t, "mysql", []string{"localhost", mysqlHost}, db.addr) // those without SNI ask for localhost
	out, err := f.sClient(t, "", "-brief", "-noservername")
	require.NoError(t, err, out)
	require.Contains(t, out, "Verification: OK")
	verified := verifiedBy(f.Root())
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
			out, err := goClient(t, f.addr, user, f.Root(), `SELECT 6*7`)
			require.NoError(t, err, out)
			require.Equal(t, "42\n42\n", out)
			out, err = run(t, clientTimeout, "", mysqlTool(t), "large", f.addr, user, mysqlPassword, f.Root())
			require.NoError(t, err, out)
			require.Equal(t, "true true 100000\ntrue true 100000\n", out)
		}
	})
	t.Run("PyMySQL", func(t *testing.T) {
		out, err := debianPython(t, "pymysql", "testdata/mysql_client.py", port(t, f.addr), mysqlUser, mysqlPassword, f.Root(), "large")
		require.NoError(t, err, out)
		require.Equal(t, "text: 42\ntls: TLSv1.3\nlarge: True True\nsum: 50005000\nrows: 100000\n", out)
	})
	t.Run("mysql2, which changes the user", func(t *testing.T) {
		out, err := runMySQL2(t, port(t, f.addr), mysqlUser, mysqlPassword, f.Root(), mysqlChanged)
		require.NoError(t, err, out)
		require.Equal(t, "42\n42\n17825792\n17825792\n100000\n"+mysqlChanged+"\n42\n42\n", out)
	})
	t.Run("Connector/J", func(t *testing.T) {
		for _, options := range []string{"", "&useCompression=true", "&useServerPrepStmts=true"} {
			out, err := connectorJ(t, f, options, t.TempDir())
			require.NoError(t, err, out)
			require.Equal(t, "42\n42\n17825792\n100000\n", out)
		}
	})
}

// A certificate for another name is refused by who asks for localhost, before it logs in.
func TestMySQLOtherName(t *testing.T) {
	t.Parallel()
	db := startMariaDB(t)
	tap := startTap(t, db.addr)
	f := startFront(t, "mysql", []string{mysqlHost}, tap.addr)
	out, err := mariadb(t, f.addr, mysqlUser, "SELECT 1", verifiedBy(f.Root())...)
	require.Error(t, err)
	require.Contains(t, out, "Validation of SSL server certificate failed")
	out, err = debianPython(t, "pymysql", "testdata/mysql_client.py", port(t, f.addr), mysqlUser, mysqlPassword, f.Root())
	require.Error(t, err)
	require.Contains(t, out, "certificate is not valid for 'localhost'")
	out, err = runMySQL2(t, port(t, f.addr), mysqlUser, mysqlPassword, f.Root())
	require.Error(t, err)
	require.Contains(t, out, "does not match certificate's altnames")
	out, err = connectorJ(t, f, "")
	require.Error(t, err)
	require.Contains(t, out, "localhost")
	tap.requireNone(t, mysqlUser)
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
				out, err := goClient(t, r.addr[down+" "+up], mysqlUser, root, `SELECT 6*7`)
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
