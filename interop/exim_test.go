package interop

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// eximUser is compiled into Debian's Exim, which does not start without.
const eximUser = "Debian-exim"

// exim is an Exim that sends what it is given to one server, and is not a service.
type exim struct{ binary, dir string }

// newExim makes a place for Exim to work in. As a package it excludes Postfix, so the
// program may be anywhere, and EXIM_BIN says where.
func newExim(t testing.TB) *exim {
	t.Helper()
	e := &exim{binary: os.Getenv("EXIM_BIN"), dir: serverDir(t)}
	if e.binary == "" {
		e.binary = program("exim4")
	}
	if e.binary == "" {
		unavailable(t, "exim4 is not installed, and EXIM_BIN is not set")
	}
	needRoot(t)
	owner, err := user.Lookup(eximUser)
	if err != nil {
		unavailable(t, "no user for Exim: %v", err)
	}
	uid, err := strconv.Atoi(owner.Uid)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(e.spool(), 0o700))
	require.NoError(t, os.Chown(e.spool(), uid, -1))
	showOnFailure(t, e.log())
	return e
}

func (e *exim) spool() string { return filepath.Join(e.dir, "spool") }

// log is where Exim tells of each delivery, with what TLS it has made of it.
func (e *exim) log() string { return filepath.Join(e.spool(), "main.log") }

// eximConf sends everything to one address. To deliver without its privileges means
// to do so without executing itself once more, which only an installed Exim can.
const eximConf = `
primary_hostname = %[1]s
spool_directory = %[2]s
log_file_path = %[2]s/%%s.log
deliver_drop_privilege
keep_environment =

begin routers
mx:
  driver = manualroute
  transport = smtp
  route_list = * 127.0.0.1
  self = send

begin transports
smtp:
  driver = smtp
  port = %[3]s
  interface = %[4]s
  allow_localhost
  %[5]s

begin retry
* * F,1h,5m
`

// send has Exim deliver a mail to the MX, now, with further settings of its smtp
// transport. It returns what Exim printed.
func (e *exim) send(t testing.TB, mx *publicMX, hostname, settings, mail string) (string, error) {
	t.Helper()
	config := writeFile(t, e.dir, "exim.conf", fmt.Sprintf(eximConf, hostname, e.spool(), port(t, mx.addr), proxyClient, settings))
	return run(t, clientTimeout, mail, e.binary, "-C", config, "-f", "bob@example.net", "-i", "-odf", mailAddress)
}

// verifyBy makes settings to verify every server by a CA. Exim reads the file as a user
// who cannot enter the directories of tests.
func (e *exim) verifyBy(t testing.TB, ca string) string {
	t.Helper()
	pem, err := os.ReadFile(ca)
	require.NoError(t, err)
	name := filepath.Base(filepath.Dir(ca)) + ".pem"
	return "tls_verify_hosts = *\ntls_verify_certificates = " + writeFile(t, e.dir, name, string(pem))
}

// TestPublicMXFromExim has Exim as sender, which tries TLS wherever it is offered. One
// that does not like the certificate comes back for a delivery in plaintext.
func TestPublicMXFromExim(t *testing.T) {
	t.Parallel()
	e := newExim(t)
	mx := startPublicMXFor(t, "127.0.0.1") // the name by which Exim knows the server
	stranger, _ := selfSigned(t, "stranger.example")
	trusted := e.verifyBy(t, mx.Root())
	const overTLS = `=> alice@example\.com .* X=TLS1\.3:\S+ CV=%s K C="250 `
	const inClear = `=> alice@example\.com R=mx T=smtp H=127\.0\.0\.1 \[127\.0\.0\.1\] C="250 `
	for i, test := range []struct{ hostname, settings, logged string }{
		{"verifies.example", "hosts_require_tls = *\n" + trusted, fmt.Sprintf(overTLS, "yes")},
		{"insists.example", "hosts_require_tls = *\ntls_alpn = smtp", fmt.Sprintf(overTLS, "no")},
		{"prefers.example", "", fmt.Sprintf(overTLS, "no")},
		{"avoids.example", "hosts_avoid_tls = *", inClear},
		{"old.example", "hosts_avoid_esmtp = *", inClear},
		{"returns.example", e.verifyBy(t, stranger), `TLS session: \(certificate verification failed\)(?s:.*)` + inClear},
	} {
		t.Run(test.hostname, func(t *testing.T) {
			require.NoError(t, os.RemoveAll(e.log()))
			text := message(test.hostname)
			out, err := e.send(t, mx, test.hostname, test.settings, text)
			require.NoError(t, err, out)
			requireLogged(t, e.log(), test.logged)
			mx.dovecot.delivered(t, i+1)
			requireSameMail(t, text, mx.dovecot.received(t, "from "+test.hostname+` \(unknown \[127\.0\.0\.9\]\)`))
		})
	}
	requireLogged(t, mx.log, `: client=unknown\[127\.0\.0\.9\]`)
}

// TestEximKeepsWhatItMustNotSend has an Exim that insists on a certificate of another
// CA. The mail stays where it is: nothing of it arrives.
func TestEximKeepsWhatItMustNotSend(t *testing.T) {
	t.Parallel()
	e := newExim(t)
	mx := startPublicMXFor(t, "127.0.0.1")
	stranger, _ := selfSigned(t, "stranger.example")
	out, err := e.send(t, mx, "doubts.example", "hosts_require_tls = *\n"+e.verifyBy(t, stranger), message("doubts"))
	require.NoError(t, err, out)
	requireLogged(t, e.log(), `== alice@example\.com .*: TLS session: .*certificate`)
	waiting, err := filepath.Glob(filepath.Join(e.spool(), "input", "*-D"))
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	require.Empty(t, mx.dovecot.mails(), "a mail arrived")
}
