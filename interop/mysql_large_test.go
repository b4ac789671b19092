package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Packets of more than 16 MiB, of which each is sent as several, go in both directions, with
// compression and without, on every way between plaintext and TLS.
func TestMySQLLargePackets(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert, key := ca.issue(t, upHost)
	db := startMariaDB(t, "--max-allowed-packet=64M", "--ssl-cert="+cert, "--ssl-key="+key)
	up := upgradeUpstream("mysql", db.addr, upHost, ca)
	const down = "starttls mysql localhost\n"
	r := startRoutes(t, []string{"localhost"}, map[string]string{"starttls": down + "proxy " + db.addr, "upstream": up, "both": down + up})
	const size = 17 << 20
	query := fmt.Sprintf(`SELECT LENGTH("%s"), REPEAT("y", %d)`, strings.Repeat("x", size), size)
	want := fmt.Sprintf("%d\t%s\n", size, strings.Repeat("y", size))
	for way, tls := range map[string][]string{"starttls": verifiedBy(r.Root()), "upstream": {"--skip-ssl"}, "both": verifiedBy(r.Root())} {
		for name, compress := range map[string]string{"uncompressed": "--skip-compress", "compressed": "--compress"} {
			t.Run(way+" "+name, func(t *testing.T) {
				need(t, "mariadb")
				out, err := run(t, clientTimeout, query, "mariadb", append([]string{
					"--no-defaults", "--host=localhost", "--protocol=tcp", "--port=" + port(t, r.addr[way]), "--user=" + mysqlUser, "--password=" + mysqlPassword,
					"--batch", "--skip-column-names", "--max-allowed-packet=64M", compress,
				}, tls...)...)
				require.NoError(t, err, out[:min(len(out), 1000)])
				require.True(t, out == want, "%d octets", len(out)) // not to be shown
			})
		}
	}
}
