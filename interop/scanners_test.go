package interop

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
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
		scanWithNmap(t, ip)
	})
	for proto, name := range map[string]string{"smtp": "smtp", "imap": "imap", "pop3": "pop3", "xmpp": "xmpp", "postgres": "psql"} {
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

// scanWithNmap has it ask all protocols for ciphers and certificates. In XMPP it looks for the
// certificate behind what a server says inside TLS, and there is none here.
func scanWithNmap(t *testing.T, ip string) {
	t.Helper()
	ports := slices.Collect(maps.Values(scannedPorts))
	out, err := run(t, scanTimeout, "", "nmap", "-n", "-Pn", "--unprivileged", "-p", strings.Join(ports, ","),
		"--script", "+ssl-cert,+ssl-enum-ciphers", ip)
	require.NoError(t, err, out)
	for wanted, count := range map[string]int{
		"TLSv1.3:": len(ports), "TLS_AKE_WITH_AES_128_GCM_SHA256": len(ports), "Subject Alternative Name: DNS:" + mailHost: len(ports) - 1,
	} {
		require.Equal(t, count, strings.Count(out, wanted), "%s\n%s", wanted, out)
	}
}

// TestScannersOfRDP has them ask a front of xrdp. nmap counts any answer that selects something as success, so that CredSSP, which
// it asks for along with TLS, is in its list, too; standard RDP security would be there as "Native RDP". Its scripts for
// certificates, testssl.sh and s_client know no upgrade of RDP.
func TestScannersOfRDP(t *testing.T) {
	t.Parallel()
	need(t, "sslscan", "nmap")
	f := startFront(t, "rdp", []string{rdpHost}, startXrdp(t, xrdpPlain))
	out, err := run(t, scanTimeout, "", "sslscan", "--no-colour", "--no-heartbleed", "--no-groups", "--rdp", f.addr)
	require.NoError(t, err, out)
	require.Regexp(t, `(?m)^TLSv1\.3 +enabled`, out)
	require.Regexp(t, `(?m)^TLSv1\.1 +disabled`, out)
	require.Contains(t, out, "Altnames: DNS:"+rdpHost)
	out, err = run(t, scanTimeout, "", "nmap", "-n", "-Pn", "--unprivileged", "-p", port(t, f.addr), "--script", "+rdp-enum-encryption", "127.0.0.1")
	require.NoError(t, err, out)
	require.Contains(t, out, "SSL: SUCCESS")
	require.NotContains(t, out, "Native RDP")
	require.NotContains(t, out, "RDSTLS")
}
