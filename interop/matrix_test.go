package interop

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// matrixHost is the name in Caddy's certificate for all protocols but XMPP.
const matrixHost = "down.example.com"

// How clients reach Caddy, and how Caddy reaches servers: with optional, those that may
// offer the upgrade, and do not, but for PostgreSQL.
var (
	matrixWays = []string{"plain", "tls", "starttls"}
	matrixUps  = append(slices.Clone(matrixWays), "optional")
)

// matrixServer is where one protocol is served in each of the ways. None is optional where nothing tells that a
// server has no upgrade, or where a session cannot go on without.
type matrixServer map[string]string

// Beside the ways, a matrixServer may have what starttls_upstream needs to know, and a server without
// an upgrade that is not optional.
const (
	matrixOptions = "options"
	matrixRefused = "refused"
)

// withoutUpgrade is the server that has none.
func (s matrixServer) withoutUpgrade() string { return cmp.Or(s[matrixRefused], s["optional"]) }

// TestMatrix has clients in plaintext, with TLS from the first byte, and with an upgrade,
// reach servers that want each of these, in all combinations. Whatever is done on
// either side, the client meets one server that greets once and offers no
// upgrade, and can log in to it.
func TestMatrix(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	servers := startMatrixServers(t, ca)
	handlers := make(map[string]string)
	eachCell(servers, func(name, proto, down, up string) {
		handlers[name] = matrixDown(proto, down) + "\n" + matrixUp(proto, up, servers[proto], ca)
	})
	for proto, server := range servers {
		if addr := server.withoutUpgrade(); addr != "" {
			handlers[proto+" refused"] = upgradeUpstream(proto, addr, upName(proto), ca, server[matrixOptions])
		}
	}
	r := startRoutes(t, []string{matrixHost, xmppHost}, handlers)
	eachCell(servers, func(name, proto, down, up string) {
		t.Run(name, func(t *testing.T) {
			c := &matrixClient{t: t, Conn: r.dial(t, proto, down, r.addr[name]), tls: r.clientTLS(t, proto)}
			c.hold(matrixDialogues[proto](up), down)
		})
	})
	for proto, server := range servers {
		if proto == "postgres" || server.withoutUpgrade() == "" {
			continue // PostgreSQL's one server does offer TLS
		}
		t.Run(proto+" refused", func(t *testing.T) {
			client, ok := matrixRefusals[proto]
			if !ok {
				client = hardenedClients[proto]
			}
			reply := plainReply(t, r.addr[proto+" refused"], client.send)
			require.Regexp(t, client.want, reply)
			require.Contains(t, reply, "Upstream does not offer TLS")
		})
	}
}

// eachCell goes through the matrix.
func eachCell(servers map[string]matrixServer, do func(name, proto, down, up string)) {
	for _, proto := range slices.Sorted(maps.Keys(servers)) {
		for _, down := range matrixWays {
			for _, up := range matrixUps {
				if servers[proto][up] != "" {
					do(proto+" "+down+" "+up, proto, down, up)
				}
			}
		}
	}
}

// startMatrixServers runs two servers of each protocol: one that does no TLS, and one
// that demands it.
func startMatrixServers(t testing.TB, ca *authority) map[string]matrixServer {
	t.Helper()
	d := startDovecot(t, tlsOff)
	prosody, irc := startProsody(t, prosodyPlain), startNgircd(t, ca)
	plain := map[string]string{
		"smtp": startPostfix(t, d, ""), "imap": d.imap, "pop3": d.pop3, "sieve": d.sieve,
		"ldap": startSlapd(t), "xmpp": prosody, "irc": irc.plain,
	}
	servers := make(map[string]matrixServer)
	demanding := startHardened(t, ca)
	for proto, addr := range plain {
		servers[proto] = matrixServer{
			"plain": addr, "tls": demanding[proto].implicit, "starttls": demanding[proto].addr, "optional": addr,
		}
	}
	// ManageSieve has no TLS from the first byte, PostgreSQL only since version 17.
	servers["sieve"]["tls"] = startTerminator(t, ca, d.sieve)
	servers["irc"]["tls"] = irc.tls
	delete(servers["irc"], "optional") // ngIRCd is silent, and does not say that it has no upgrade; so is InspIRCd without its modules
	db := demanding["postgres"].addr
	servers["postgres"] = matrixServer{"plain": db, "tls": startTerminator(t, ca, db), "starttls": db, "optional": db}
	for proto, start := range matrixStarts {
		servers[proto] = start(t, ca)
	}
	return servers
}

// matrixName is the name that clients and servers verify: of Caddy, and of servers.
func matrixName(proto, otherwise string) string {
	switch {
	case proto == "xmpp", proto == "xmpp-server":
		return xmppHost
	case proto == "http" && otherwise == upHost:
		return "localhost" // cupsd takes no other name from a loopback address
	}
	return otherwise
}

// matrixDown returns the handler that serves clients in one of the ways.
func matrixDown(proto, way string) string {
	upgrade := "starttls " + proto + " " + matrixName(proto, matrixHost)
	if proto == "ftp" && way == "tls" {
		return upgrade + " {\nimplicit_tls\n}" // for data connections, of which tls knows nothing
	}
	return map[string]string{"plain": "", "tls": "tls", "starttls": upgrade}[way]
}

// matrixUp returns the handlers that reach a server in one of the ways.
func matrixUp(proto, way string, server matrixServer, ca *authority) string {
	addr := server[way]
	switch way {
	case "plain":
		return "proxy " + addr
	case "tls":
		return fmt.Sprintf("proxy {\nupstream {\ndial %s\ntls\ntls_server_name %s\ntls_trust_pool file %s\n}\n}",
			addr, matrixName(proto, upHost), ca.file)
	case "optional":
		return upgradeUpstream(proto, addr, matrixName(proto, upHost), ca, "policy optional", server[matrixOptions])
	}
	return upgradeUpstream(proto, addr, matrixName(proto, upHost), ca, server[matrixOptions])
}

// clientTLS is how clients verify Caddy.
func (r *routes) clientTLS(t testing.TB, proto string) *tls.Config {
	t.Helper()
	root, err := os.ReadFile(r.Root())
	require.NoError(t, err)
	config := &tls.Config{ServerName: matrixName(proto, matrixHost), RootCAs: x509.NewCertPool(), NextProtos: r.alpn}
	require.True(t, config.RootCAs.AppendCertsFromPEM(root))
	return config
}

// dial connects in one of the ways.
func (r *routes) dial(t testing.TB, proto, way, addr string) net.Conn {
	t.Helper()
	config := r.clientTLS(t, proto)
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	var conn net.Conn
	var err error
	switch way {
	case "plain":
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
	case "tls":
		conn, err = (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	default:
		var known *upgrade.Protocol
		known, err = upgrade.Lookup(proto)
		require.NoError(t, err)
		conn, err = upgrade.Dial(ctx, "tcp", addr, known, &upgrade.Config{TLS: config})
	}
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(clientTimeout)))
	return conn
}
