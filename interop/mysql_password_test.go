package interop

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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

// Other clients send the whole password, too: to a server that has none in its memory, and then,
// by caching_sha2_password, to one that has. They verify that they are at localhost.
func TestMySQLWholePasswordsOfClients(t *testing.T) {
	t.Parallel()
	clients := map[string]func(t *testing.T, f *front) (string, error){
		"mariadb": func(t *testing.T, f *front) (string, error) {
			need(t, "mariadb")
			return run(t, clientTimeout, "SELECT 6*7", "mariadb", append([]string{
				"--no-defaults", "--host=localhost", "--protocol=tcp", "--port=" + port(t, f.addr), "--user=" + mysqlUser, "--password=" + mysqlPassword,
				"--batch", "--skip-column-names",
			}, verifiedBy(f.Root())...)...)
		},
		"PyMySQL": func(t *testing.T, f *front) (string, error) {
			return debianPython(t, "pymysql", "testdata/mysql_client.py", port(t, f.addr), mysqlUser, mysqlPassword, f.Root())
		},
		"mysql2": func(t *testing.T, f *front) (string, error) {
			return runMySQL2(t, port(t, f.addr), mysqlUser, mysqlPassword, f.Root())
		},
		"Connector/J": func(t *testing.T, f *front) (string, error) { return connectorJ(t, f, "") },
	}
	for _, plugin := range []string{"caching_sha2_password", "sha256_password"} {
		for name, client := range clients {
			t.Run(plugin+" "+name, func(t *testing.T) {
				addr := freeAddr(t)
				startProcess(t, mysqlTool(t), "server", addr, plugin)
				waitTCP(t, addr)
				tap := startTap(t, addr)
				f := startFront(t, "mysql", []string{"localhost"}, tap.addr)
				for range 2 {
					out, err := client(t, f)
					require.NoError(t, err, out)
					require.Contains(t, out, "42\n")
				}
				tap.requireNone(t, mysqlPassword)
			})
		}
	}
}
