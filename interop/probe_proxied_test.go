package interop

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProbeOfProxied asks servers that wait for a PROXY protocol header, and are silent until it
// comes or they have no more patience. With the header, they are as without.
func TestProbeOfProxied(t *testing.T) {
	t.Parallel()
	d, other := startDovecotProxied(t)
	postscreen := freeAddr(t)
	postfix, _ := startPostfixWith(t, d, "smtpd_upstream_proxy_protocol = haproxy\npostscreen_upstream_proxy_protocol = haproxy",
		postscreen+" inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n")
	for _, test := range []struct{ name, proto, addr, error, hint string }{
		{"smtpd", "smtp", postfix, `turned us away before it was asked for TLS: "421 4.3.0 `, "perhaps the server waits for a PROXY protocol header"},
		{"postscreen", "smtp", postscreen, `turned us away before it was asked for TLS: "421 4.3.2 `, "perhaps the server waits for a PROXY protocol header"},
		{"Dovecot", "imap", d.imap, "EOF", "or wait for a PROXY protocol header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, r := probeJSON(t, test.proto, test.addr)
			require.Equal(t, 7, status, "%+v", r)
			require.Contains(t, r.Error, test.error)
			require.Contains(t, r.Hint, test.hint)
			require.Contains(t, r.Hint, "try --proxy-protocol v2")
			for _, version := range []string{"v1", "v2"} {
				status, r = probeJSON(t, test.proto, test.addr, "--proxy-protocol", version)
				require.Equal(t, 5, status, "%+v", r)
				require.Equal(t, "not offered", r.Outcome, "it has no TLS of its own")
				require.NotEmpty(t, r.Dialogue)
			}
		})
	}
	status, r := probeJSON(t, "imap", other, "--proxy-protocol", "v1")
	require.NotZero(t, status)
	require.Contains(t, r.Hint, "try without --proxy-protocol")
}
