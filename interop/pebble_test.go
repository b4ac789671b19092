package interop

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// pebbleBuild is Pebble, a small ACME server.
var pebbleBuild = build{module: "pebble", packages: []string{"github.com/letsencrypt/pebble/v2/cmd/pebble"}}

// An acmeServer is a Pebble that finds every name at 127.0.0.1.
type acmeServer struct {
	*process
	names      *nameServer
	address    string // of the ACME directory
	management string
	trust      string // PEM file: who signs for both
	pool       *x509.CertPool
	http, tls  string // the ports at which it looks for answers to challenges
}

// startPebble runs a Pebble whose certificates are valid for so long.
func startPebble(t testing.TB, validity time.Duration) *acmeServer {
	t.Helper()
	bin, err := pebbleBuild.programs()
	if err != nil {
		unavailable(t, "no Pebble: %v", err)
	}
	dir := serverDir(t)
	template := testkit.AuthorityTemplate("Pebble's own")
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	own := testkit.Issue(t, template, testkit.NewKey(t), nil)
	certificate, key := testkit.PEM(t, own)
	a := &acmeServer{
		names: startNames(t), address: freeAddr(t), management: freeAddr(t), http: port(t, freeAddr(t)), tls: port(t, freeAddr(t)),
		trust: writeFile(t, dir, "cert.pem", string(certificate)), pool: testkit.Trust(own),
	}
	config := writeFile(t, dir, "config.json", fmt.Sprintf(`{"pebble": {
		"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q,
		"httpPort": %s, "tlsPort": %s, "retryAfter": {"authz": 1, "order": 1}, "keyAlgorithm": "ecdsa",
		"profiles": {"default": {"validityPeriod": %.0f}}}}`,
		a.address, a.management, a.trust, writeFile(t, dir, "key.pem", string(key)), a.http, a.tls, validity.Seconds()))
	cmd := exec.Command(bin+"/pebble", "-config", config, "-dnsserver", a.names.addr)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	a.process = startCmd(t, cmd)
	waitTCP(t, a.address)
	waitTCP(t, a.management)
	return a
}

// directory is the URL that a client of the ACME server starts with.
func (a *acmeServer) directory() string { return "https://" + a.address + "/dir" }

// issued counts the certificates that have been issued.
func (a *acmeServer) issued() int { return strings.Count(a.Log(), "Issued certificate serial") }

// roots writes the certificate that signs for all others into a file.
func (a *acmeServer) roots(t testing.TB) string {
	t.Helper()
	client := &http.Client{Timeout: startTimeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: a.pool}, DisableKeepAlives: true,
	}}
	resp, err := client.Get("https://" + a.management + "/roots/0")
	require.NoError(t, err)
	defer resp.Body.Close()
	root, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return writeFile(t, t.TempDir(), "root.pem", string(root))
}

// acmeOptions are global options of a Caddy that gets its certificates from the server, by
// one kind of challenge. For each kind there is one that turns off the other.
func (a *acmeServer) acmeOptions(storage, turnOff string) string {
	return fmt.Sprintf(`
	admin off
	skip_install_trust
	debug
	storage file_system %q
	default_bind 127.0.0.1
	http_port %s
	https_port %s
	cert_issuer acme %s {
		trusted_roots %s
		%s
	}
	renew_interval 1s
`, storage, a.http, a.tls, a.directory(), a.trust, turnOff)
}

// A policy is an automation policy in JSON, with the same server and TLS-ALPN-01.
func (a *acmeServer) policy(t testing.TB) string {
	t.Helper()
	policy, err := json.Marshal(map[string]any{"issuers": []any{map[string]any{
		"module": "acme", "ca": a.directory(), "trusted_roots_pem_files": []string{a.trust},
		"challenges": map[string]any{
			"bind_host": "127.0.0.1", "http": map[string]any{"disabled": true},
			"tls-alpn": map[string]any{"alternate_port": json.Number(a.tls)},
		},
	}}})
	require.NoError(t, err)
	return string(policy)
}

// startQuitter runs an SMTP server with which one can do nothing but quit.
func startQuitter(t testing.TB) (addr string) {
	t.Helper()
	return serveEach(t, quitter)
}

func quitter(conn net.Conn) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(startTimeout))
	answer := "220 backend ESMTP\r\n"
	for lines := bufio.NewReader(conn); ; {
		if _, err := io.WriteString(conn, answer); err != nil || strings.HasPrefix(answer, "221") {
			return
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		answer = "250 backend\r\n"
		if strings.HasPrefix(line, "QUIT") {
			answer = "221 2.0.0 Bye\r\n"
		}
	}
}

// A mailClient is openssl, as a client that upgrades SMTP, verifies the name and quits.
type mailClient struct {
	roots, addr string
	host        string // whom the certificate is for
	asks        string // the name in SNI; default: host
}

var serialNumber = regexp.MustCompile(`(?m)^serial=([0-9A-F]+)$`)

// connect returns what openssl shows.
func (c mailClient) connect(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.try(t, args...)
	require.NoError(t, err, out)
	require.Contains(t, out, "Verify return code: 0 (ok)")
	require.Contains(t, out, "221 2.0.0 Bye")
	return out
}

func (c mailClient) try(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return run(t, startTimeout, "QUIT\r\n", "openssl", append([]string{"s_client", "-starttls", "smtp", "-connect", c.addr,
		"-servername", cmp.Or(c.asks, c.host), "-verify_hostname", c.host, "-verify_return_error", "-CAfile", c.roots, "-ign_eof"}, args...)...)
}

// serial is the serial number of the certificate.
func (c mailClient) serial(t testing.TB) string {
	t.Helper()
	out, err := run(t, startTimeout, c.connect(t), "openssl", "x509", "-noout", "-serial")
	require.NoError(t, err, out)
	found := serialNumber.FindStringSubmatch(out)
	require.NotNil(t, found, out)
	return found[1]
}
