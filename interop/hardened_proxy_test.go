package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHardenedRetries has the handler behind, which does the dialling, try a second
// upstream because the first one is down, and take turns between two that are up.
func TestHardenedRetries(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	d, mail := hardenedDovecot(t, ca)
	tap := startTap(t, d.imap)
	balanced := "{\nupstream %1\nupstream %2\nlb_policy round_robin\nlb_try_duration 5s\nlb_try_interval 50ms\n}"
	pair := func(first, second string) string {
		return strings.NewReplacer("%1", first, "%2", second).Replace(balanced)
	}
	r := startRoutes(t, nil, map[string]string{
		"one down": upgradeUpstream("imap", pair(freeAddr(t), mail["imap"].addr), upHost, ca),
		"both up":  upgradeUpstream("imap", pair(tap.addr, mail["imap"].addr), upHost, ca),
	})
	for range 4 {
		for _, name := range []string{"one down", "both up"} {
			c := &matrixClient{t: t, Conn: r.dial(t, "imap", "plain", r.addr[name])}
			c.hold(matrixDialogues["imap"]("starttls"), "plain")
		}
	}
	count := strings.Count(tap.up.String(), " STARTTLS\r\n")
	require.Greater(t, count, 1, "the first of two upstreams was left out")
	require.Less(t, count, 5, "the second of two upstreams was left out")
	require.Equal(t, 8, strings.Count(d.Log(), "imap-login: Info: Login: user=<alice>"))
}

// TestHardenedPublicMX has a Postfix that wants the PROXY protocol in front of the
// conversation in plaintext, and then TLS, learn of the client's address. Caddy puts the
// header there before it asks for the upgrade.
func TestHardenedPublicMX(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	ca := newAuthority(t)
	d := startDovecot(t, tlsOff)
	postfix := hardenedPostfix(t, ca, d, mxSettings+"smtpd_tls_received_header = yes\n")
	for i, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			handlers := upgradeUpstream("smtp", postfix.addr, upHost, ca)
			handlers = strings.Replace(handlers, "}\nproxy ", "}\nsend_proxy_protocol "+version+"\nproxy ", 1)
			r := startRoutes(t, nil, map[string]string{"smtp": handlers})
			mx := &publicMX{front: r.front("smtp", "smtp")}
			out, err := mx.swaks(t, "--helo", version+".example")
			require.NoError(t, err, out)
			require.NotContains(t, out, "STARTTLS")
			d.delivered(t, i+1)
			d.requireReceived(t, "from "+version+`\.example \(unknown \[127\.0\.0\.9\]\)\s+\(using TLSv1\.3`)
		})
	}
	require.Contains(t, postfix.log(), ": client=unknown[127.0.0.9]")
	require.NotContains(t, postfix.log(), ": client=unknown[127.0.0.1]")
}

// TestHardenedSubmission is the whole chain with certificates on both sides: a client
// upgrades to Caddy, and Caddy to a server that demands it.
func TestHardenedSubmission(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	d, mail := hardenedDovecot(t, ca)
	mail["smtp"] = hardenedPostfix(t, ca, d, "")
	handlers := make(map[string]string)
	for proto, server := range mail {
		handlers[proto] = "starttls " + proto + " " + mailHost + " localhost\n" + upgradeUpstream(proto, server.addr, upHost, ca)
	}
	r := startRoutes(t, []string{mailHost, "localhost"}, handlers)
	m, text := r.mailFront(), message("both sides")
	for _, word := range hidden {
		require.NotContains(t, m.python(t, "smtp", messageFile(t, text)), word)
	}
	d.delivered(t, len(hidden))
	for _, proto := range []string{"imap", "pop3"} {
		file := filepath.Join(t.TempDir(), "mail")
		m.python(t, proto, file)
		requireSameMail(t, text, m.read(t, proto))
	}
	for _, proto := range mailProtocols {
		requireVerified(t, r.caddyServer, proto, r.addr[proto], mailHost)
	}
}
