package interop

import (
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

// matrixServer is where one protocol is served in each of the ways.
type matrixServer map[string]string

// TestMatrix has clients in plaintext, with TLS from the first byte, and with an upgrade,
// reach servers that want each of these, in all combinations. Whatever is done on
// either side, the client meets one server that greets once and offers no
// upgrade, and can log in to it.
func TestMatrix(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	servers := startMatrixServers(t, ca)
	handlers := make(map[string]string)
	for proto, server := range servers {
		handlers[proto+" refused"] = upgradeUpstream(proto, server["plain"], matrixName(proto, upHost), ca)
		for _, down := range matrixWays {
			for _, up := range matrixUps {
				handlers[proto+" "+down+" "+up] = matrixDown(proto, down) + "\n" + matrixUp(proto, up, server[up], ca)
			}
		}
	}
	r := startRoutes(t, []string{matrixHost, xmppHost}, handlers)
	for _, proto := range slices.Sorted(maps.Keys(servers)) {
		for _, down := range matrixWays {
			for _, up := range matrixUps {
				if proto == "irc" && up == "optional" {
					continue // ngIRCd is silent, and does not say that it has no upgrade
				}
				name := proto + " " + down + " " + up
				t.Run(name, func(t *testing.T) {
					c := &matrixClient{t: t, Conn: r.dial(t, proto, down, r.addr[name])}
					c.hold(matrixDialogues[proto](up), down)
				})
			}
		}
		if proto == "postgres" || proto == "irc" {
			continue // PostgreSQL's one server does offer TLS, and ngIRCd does not say that it has none
		}
		t.Run(proto+" refused", func(t *testing.T) {
			client := hardenedClients[proto]
			reply := plainReply(t, r.addr[proto+" refused"], client.send)
			require.Regexp(t, client.want, reply)
			require.Contains(t, reply, "Upstream does not offer TLS")
		})
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
	db := demanding["postgres"].addr
	servers["postgres"] = matrixServer{"plain": db, "tls": startTerminator(t, ca, db), "starttls": db, "optional": db}
	return servers
}

// matrixName is the name that clients and servers verify: of Caddy, and of servers.
func matrixName(proto, otherwise string) string {
	if proto == "xmpp" {
		return xmppHost
	}
	return otherwise
}

// matrixDown returns the handler that serves clients in one of the ways.
func matrixDown(proto, way string) string {
	return map[string]string{
		"plain": "", "tls": "tls", "starttls": "starttls " + proto + " " + matrixName(proto, matrixHost),
	}[way]
}

// matrixUp returns the handlers that reach a server in one of the ways.
func matrixUp(proto, way, addr string, ca *authority) string {
	switch way {
	case "plain":
		return "proxy " + addr
	case "tls":
		return fmt.Sprintf("proxy {\nupstream {\ndial %s\ntls\ntls_server_name %s\ntls_trust_pool file %s\n}\n}",
			addr, matrixName(proto, upHost), ca.file)
	case "optional":
		return upgradeUpstream(proto, addr, matrixName(proto, upHost), ca, "policy optional")
	}
	return upgradeUpstream(proto, addr, matrixName(proto, upHost), ca)
}

// dial connects in one of the ways.
func (r *routes) dial(t testing.TB, proto, way, addr string) net.Conn {
	t.Helper()
	root, err := os.ReadFile(r.Root())
	require.NoError(t, err)
	config := &tls.Config{ServerName: matrixName(proto, matrixHost), RootCAs: x509.NewCertPool(), NextProtos: r.alpn}
	require.True(t, config.RootCAs.AppendCertsFromPEM(root))
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	var conn net.Conn
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
