package interop

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// probeOptions are those of the command that a server of the matrix needs: squid has to be told where to,
// and by whom.
func probeOptions(proto string, server matrixServer) (options []string) {
	if proto == "connect" {
		for line := range strings.Lines(server[matrixOptions]) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			options = append(options, "--"+strings.ReplaceAll(name, "_", "-"), value)
		}
	}
	return options
}

// TestProbeMatrix asks ProFTPD, cupsd, squid, INN, Prosody as servers reach it, and MariaDB, which have an upgrade, and
// servers of the same protocols that have none. Telnet's upgrade is ours.
func TestProbeMatrix(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	servers := map[string]matrixServer{"mysql": startMySQLMatrix(t, ca)}
	for proto, start := range matrixStarts {
		servers[proto] = start(t, ca)
	}
	for proto, server := range servers {
		t.Run(proto, func(t *testing.T) {
			probe := func(name string) (int, probeReport) {
				args := []string{proto, server["starttls"], "--ca", ca.file, "--server-name", name}
				return probeJSON(t, append(args, probeOptions(proto, server)...)...)
			}
			status, r := probe(upName(proto))
			require.Zero(t, status, "%+v", r)
			require.Equal(t, "verified", r.Outcome)
			require.Contains(t, r.TLS.Version, "TLS 1.")
			require.Contains(t, r.Certificates[0].Names, upName(proto))
			if proto != "xmpp-server" && proto != "http" { // they take no other name
				status, r = probe("other.example.com")
				require.Equal(t, 4, status, "%+v", r)
				require.Contains(t, r.Verification.Problems[0], "not other.example.com")
			}
			if addr := server.withoutUpgrade(); addr != "" {
				status, r = probeJSON(t, proto, addr, "--server-name", upName(proto))
				require.Equal(t, 5, status, "%+v", r)
				require.Equal(t, "not offered", r.Outcome)
			}
		})
	}
	status, r := probeJSON(t, "telnet", servers["telnet"]["plain"], "--timeout", "3s") // telnetd waits for answers
	require.Equal(t, 6, status, "%+v", r)
	status, r = probeJSON(t, "connect", servers["connect"]["starttls"], "--target", "localhost:1", "--proxy-auth", "me:sesame")
	require.Equal(t, 5, status, "%+v", r) // squid leads to one port
	require.Equal(t, "refused", r.Outcome)
}

// startMySQLMatrix runs two MariaDBs.
func startMySQLMatrix(t testing.TB, ca *authority) matrixServer {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	plain := startMariaDB(t)
	demanding := startMariaDB(t, "--ssl-cert="+cert, "--ssl-key="+key, "--require-secure-transport=ON")
	return matrixServer{"plain": plain.addr, "starttls": demanding.addr, matrixRefused: plain.addr}
}
