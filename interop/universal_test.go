package interop

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// startUniversal runs a Caddy with these protocols, each at an address of its own. MySQL's greeting
// is the backend's, so there is one for it; with others nobody gets as far as that.
func startUniversal(t testing.TB, protocols []string) *routes {
	t.Helper()
	handlers := make(map[string]string)
	for _, proto := range protocols {
		backend := freeAddr(t)
		if proto == "mysql" {
			backend = startMariaDB(t).addr
		}
		handlers[proto] = "starttls " + proto + " " + mailHost + "\nproxy " + backend
	}
	return startRoutes(t, []string{mailHost}, handlers)
}

// opensslKnows are the protocols that OpenSSL 3.0 has upgrades for.
var opensslKnows = []string{
	"smtp", "pop3", "imap", "ftp", "xmpp", "xmpp-server", "telnet", "irc", "mysql", "postgres", "lmtp", "nntp", "sieve", "ldap",
}

// TestOpenSSL has openssl upgrade in every protocol that it knows, and verify the certificate by
// name. For another name it ends the connection.
func TestOpenSSL(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	help, _ := run(t, clientTimeout, "", "openssl", "s_client", "-starttls", "help")
	_, list, _ := strings.Cut(help, "one of:\n")
	list, _, _ = strings.Cut(list, "\ns_client:")
	require.ElementsMatch(t, opensslKnows, strings.Fields(list), "another OpenSSL knows others: %s", help)
	r := startUniversal(t, opensslKnows)
	for _, proto := range opensslKnows {
		t.Run(proto, func(t *testing.T) {
			f := r.front(proto, proto)
			f.host = mailHost
			out, err := f.sClient(t, "", "-brief", "-servername", mailHost)
			require.NoError(t, err, out)
			require.Contains(t, out, "Verification: OK")
			require.Contains(t, out, "Verified peername: "+mailHost)
			out, err = f.sClient(t, "", "-brief", "-servername", mailHost, "-verify_hostname", "other.example.com")
			require.Error(t, err, out)
			require.Contains(t, out, "hostname mismatch")
			require.NotContains(t, out, "Verification: OK")
		})
	}
}

// gnutlsKnows are the protocols that gnutls-cli has upgrades for. What it does not know it warns of,
// and begins with TLS at once.
var gnutlsKnows = []string{"smtp", "pop3", "imap", "ftp", "xmpp", "postgres", "lmtp", "nntp", "sieve", "ldap"}

// TestGnuTLS does the same with gnutls-cli.
func TestGnuTLS(t *testing.T) {
	t.Parallel()
	need(t, "gnutls-cli")
	r := startUniversal(t, opensslKnows)
	for _, proto := range opensslKnows {
		t.Run(proto, func(t *testing.T) {
			upgrade := func(host string) (string, error) {
				return run(t, clientTimeout, "", "gnutls-cli", "--starttls-proto", proto, "--x509cafile", r.Root(),
					"--sni-hostname", mailHost, "--verify-hostname", host, "--port", port(t, r.addr[proto]), "127.0.0.1")
			}
			out, err := upgrade(mailHost)
			if !slices.Contains(gnutlsKnows, proto) {
				require.Error(t, err, out)
				require.Contains(t, out, "unknown protocol '"+proto+"'")
				return
			}
			require.NoError(t, err, out)
			require.Contains(t, out, "The certificate is trusted.")
			require.Contains(t, out, "Handshake was completed")
			out, err = upgrade("other.example.com")
			require.Error(t, err, out)
			require.Contains(t, out, "The name in the certificate does not match the expected.")
			require.NotContains(t, out, "Handshake was completed")
		})
	}
}
