package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// eximServer keeps what it takes in its queue, and takes mail over TLS only. By default its
// `tls_alpn` is smtp and esmtp, of which a client may offer one, and no more.
const eximServer = `
primary_hostname = backend.example.com
spool_directory = %[1]s
log_file_path = %[1]s/%%s.log
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = %[2]s
queue_only
tls_advertise_hosts = *
tls_certificate = %[3]s
tls_privatekey = %[4]s
acl_smtp_mail = encrypted
acl_smtp_rcpt = everybody
domainlist local_domains = example.com

begin acl
encrypted:
  accept encrypted = *
everybody:
  accept domains = +local_domains
`

// listen runs Exim as a server, and returns its address.
func (e *exim) listen(t testing.TB, ca *authority) string {
	t.Helper()
	addr := freeAddr(t)
	cert, key := ca.issue(t, upHost)
	config := writeFile(t, e.dir, "exim-server.conf", fmt.Sprintf(eximServer, e.spool(), port(t, addr), cert, key))
	startCmd(t, exec.Command(e.binary, "-C", config, "-bdf"))
	waitTCP(t, addr)
	return addr
}

// TestEximAsUpstream has an Exim that demands TLS. Exim refuses a client that offers more
// than one ALPN id.
func TestEximAsUpstream(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	e := newExim(t)
	addr := e.listen(t, ca)
	t.Run("probe", func(t *testing.T) {
		status, r := probeJSON(t, "smtp", addr, "--ca", ca.file, "--server-name", upHost)
		require.Zero(t, status, "%+v", r)
	})
	t.Run("Dial", func(t *testing.T) {
		for name, ids := range map[string][]string{"smtp": nil, "esmtp": {"esmtp"}, "": {}} {
			conn := dialExim(t, ca, addr, ids)
			state, _ := conn.TLSConnectionState()
			require.Equal(t, name, state.NegotiatedProtocol)
		}
	})
	handlers := map[string]string{"more than one": upgradeUpstream("smtp", addr, upHost, ca, "tls_alpn smtp esmtp")}
	takes := map[string]string{"default": "", "another": "tls_alpn esmtp", "none": "tls_alpn off"}
	for name, option := range takes {
		handlers[name] = upgradeUpstream("smtp", addr, upHost, ca, option)
	}
	r := startRoutes(t, nil, handlers)
	for name := range takes {
		require.NoError(t, smtp.SendMail(r.addr[name], nil, "bob@example.net", []string{mailAddress}, []byte(message(name))), name)
	}
	requireLogged(t, e.log(), `(?s)(<= bob@example\.net H=\S+ \[127\.0\.0\.1\] P=\S*esmtps X=TLS1\.3:.*){3}`)
	require.Error(t, smtp.SendMail(r.addr["more than one"], nil, "bob@example.net", []string{mailAddress}, []byte(message("x"))))
	requireLogged(t, e.log(), `TLS ALPN \(smtp:esmtp\) rejected`)
}

// dialExim upgrades to an Exim, with the given ids or else the default.
func dialExim(t testing.TB, ca *authority, addr string, ids []string) *upgrade.Conn {
	t.Helper()
	pem, err := os.ReadFile(ca.file)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	config := &tls.Config{RootCAs: roots, ServerName: upHost, NextProtos: ids, MinVersion: tls.VersionTLS12}
	conn, err := upgrade.Dial(ctx, "tcp", addr, upgrade.SMTP, &upgrade.Config{TLS: config})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
