package interop

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// scannedPorts are those by which nmap knows which upgrade to ask for.
var scannedPorts = map[string]string{
	"smtp": "25", "imap": "143", "pop3": "110", "nntp": "119", "ldap": "389", "xmpp": "5222", "postgres": "5432",
}

// scanTimeout is for scanners, which make many connections.
const scanTimeout = 4 * time.Minute

// startScanned runs a Caddy with all those protocols, each at its own port, and returns the
// address that this process has for itself. Nobody gets as far as a backend.
func startScanned(t testing.TB) (ip string) {
	t.Helper()
	needRoot(t) // for ports below 1024
	pid := os.Getpid()
	ip = fmt.Sprintf("127.%d.%d.%d", 16+pid>>16&0x7f, pid>>8&0xff, pid&0xff)
	var config string
	var addrs []string
	for proto, port := range scannedPorts {
		addr := net.JoinHostPort(ip, port)
		addrs = append(addrs, addr)
		config += fmt.Sprintf("%s {\nroute {\nstarttls %s %s\nproxy %s\n}\n}\n", addr, proto, mailHost, freeAddr(t))
	}
	startCaddy(t, config, []string{mailHost}, addrs...)
	return ip
}

// TestScanners has the scanners that people check their servers with look at all protocols
// that they know, and that they can upgrade: Debian's sslscan reads LDAP's answer up to the
// zero in it only, and Debian's testssl.sh has no LDAP.
func TestScanners(t *testing.T) {
	t.Parallel()
	need(t, "sslscan", "testssl", "nmap")
	ip := startScanned(t)
	t.Run("nmap", func(t *testing.T) {
		t.Parallel()
		scanWithNmap(t, ip, "smtp", "imap", "pop3", "nntp", "ldap", "postgres")
	})
	for proto, name := range map[string]string{"smtp": "smtp", "imap": "imap", "pop3": "pop3", "postgres": "psql"} {
		t.Run("sslscan "+proto, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, scanTimeout, "", "sslscan", "--no-colour", "--no-heartbleed", "--no-groups",
				"--starttls-"+name, net.JoinHostPort(ip, scannedPorts[proto]))
			require.NoError(t, err, out)
			require.Regexp(t, `(?m)^TLSv1\.3 +enabled`, out)
			require.Regexp(t, `(?m)^TLSv1\.1 +disabled`, out)
			require.Contains(t, out, "Altnames: DNS:"+mailHost)
		})
	}
	for _, proto := range []string{"smtp", "imap", "pop3", "xmpp", "postgres"} {
		t.Run("testssl "+proto, func(t *testing.T) {
			t.Parallel()
			args := []string{"--quiet", "--color", "0", "--nodns", "none", "--warnings", "off", "--protocols", "--starttls", proto}
			if proto == "xmpp" {
				args = append(args, "--xmpphost", mailHost)
			}
			out, err := run(t, scanTimeout, "", "testssl", append(args, net.JoinHostPort(ip, scannedPorts[proto]))...)
			require.NoError(t, err, out)
			require.Regexp(t, `TLS 1\.3 +offered \(OK\)`, out)
			require.Regexp(t, `TLS 1\.1 +not offered`, out)
		})
	}
}

// scanWithNmap has it ask for certificates and ciphers, and take a port for what it is.
func scanWithNmap(t *testing.T, ip string, protos ...string) {
	t.Helper()
	ports := ""
	for _, proto := range protos {
		ports += "," + scannedPorts[proto]
	}
	out, err := run(t, scanTimeout, "", "nmap", "-n", "-Pn", "--unprivileged", "-p", ports[1:], "--script", "+ssl-cert,+ssl-enum-ciphers", ip)
	require.NoError(t, err, out)
	for _, wanted := range []string{"Subject Alternative Name: DNS:" + mailHost, "TLSv1.3:", "TLS_AKE_WITH_AES_128_GCM_SHA256"} {
		require.Equal(t, len(protos), strings.Count(out, wanted), "%s\n%s", wanted, out)
	}
}
