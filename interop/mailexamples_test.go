package interop

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A mailExample is an example's Caddy in front of a Dovecot that believes it, and of a Postfix.
type mailExample struct {
	*caddyServer
	dovecot *dovecot
	words   map[string]string
	ports   map[string]string // by the number that the example has
}

// newMailExample has the ports of the example moved, and each on the loopback alone.
func newMailExample(t testing.TB, ports ...string) *mailExample {
	t.Helper()
	e := &mailExample{words: map[string]string{}, ports: map[string]string{}}
	for _, number := range ports {
		e.ports[number] = port(t, freeAddr(t))
	}
	e.dovecot, _ = startDovecotProxied(t)
	return e
}

// bind listens where a snippet says it, and where the example says it itself.
func (e *mailExample) bind(inSnippet ...string) {
	for _, number := range inSnippet {
		e.words[number] = e.ports[number]
	}
	e.words[":{args[0]}"], e.words[":{args[1]}"] = "127.0.0.1:{args[0]}", "127.0.0.1:{args[1]}"
	for number, moved := range e.ports {
		if _, ok := e.words[number]; !ok {
			e.words[":"+number] = "127.0.0.1:" + moved
		}
	}
}

func (e *mailExample) start(t testing.TB, name, global string) {
	t.Helper()
	var addrs []string
	for _, moved := range e.ports {
		addrs = append(addrs, "127.0.0.1:"+moved)
	}
	e.caddyServer = startExample(t, name, global, e.words, []string{mailHost}, addrs...)
}

// curl talks to a port, from an address of its own.
func (e *mailExample) curl(t testing.TB, scheme, number, path string, args ...string) string {
	t.Helper()
	where := mailHost + ":" + e.ports[number]
	out, err := run(t, clientTimeout, "", "curl", append(args, "-sS", "--ssl-reqd", "--cacert", e.Root(), "--interface", proxyClient,
		"--resolve", where+":127.0.0.1", "-u", mailUser+":"+mailPassword, scheme+"://"+where+path)...)
	require.NoError(t, err, out)
	return out
}

// requireMail submits a mail and reads it, on the ports for STARTTLS and on those with TLS from the
// start. The servers see the client's address, and Dovecot that it is on TLS.
func (e *mailExample) requireMail(t *testing.T) {
	for i, c := range []struct{ s, submission, imap, pop3 string }{{"", "587", "143", "110"}, {"s", "465", "993", "995"}} {
		text := message("by port " + c.submission)
		e.curl(t, "smtp"+c.s, c.submission, "/client.example", "--mail-from", mailAddress, "--mail-rcpt", mailAddress, "-T", messageFile(t, text))
		e.dovecot.delivered(t, i+1)
		requireSameMail(t, text, e.curl(t, "imap"+c.s, c.imap, fmt.Sprintf("/INBOX;MAILINDEX=%d", i+1)))
		requireSameMail(t, text, e.curl(t, "pop3"+c.s, c.pop3, fmt.Sprintf("/%d", i+1)))
	}
	e.dovecot.requireReceived(t, `from client\.example \(unknown \[127\.0\.0\.9\]\)`)
	for _, service := range []string{"imap", "pop3"} {
		require.Regexp(t, service+`-login: Info: Login: user=<alice>, .* rip=127\.0\.0\.9, lip=127\.0\.0\.1, .* secured,`, e.dovecot.Log())
	}
	require.NotRegexp(t, `Login: .* rip=127\.0\.0\.1,`, e.dovecot.Log())
	sieve := upgraded(t, e.caddyServer, "sieve", "127.0.0.1:"+e.ports["4190"], mailHost)
	sieve.send("LOGOUT")
	sieve.expect(`(?m)^OK "Logout completed\."`)
}

// TestExampleMailHost has clients of all the ports.
func TestExampleMailHost(t *testing.T) {
	t.Parallel()
	need(t, "curl", "openssl")
	e := newMailExample(t, "587", "465", "143", "993", "110", "995", "4190")
	e.bind("587", "465", "143", "993", "110", "995")
	e.words["127.0.0.1:10587"] = startPostfix(t, e.dovecot, "smtpd_upstream_proxy_protocol = haproxy")
	e.words["127.0.0.1:10143"], e.words["127.0.0.1:10110"], e.words["127.0.0.1:14190"] = e.dovecot.imap, e.dovecot.pop3, e.dovecot.sieve
	e.start(t, "mailhost", "")
	e.requireMail(t)
}

// mailcowSubmission is Mailcow's: it insists on TLS of its own behind the header.
const mailcowSubmission = `%s inet n - n - - smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_cert_file=%s
  -o smtpd_tls_key_file=%s
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
`

// TestExampleMailcow has servers with the listeners that Mailcow has.
func TestExampleMailcow(t *testing.T) {
	t.Parallel()
	need(t, "curl", "openssl", "swaks")
	ca := newAuthority(t)
	cert, key := ca.issue(t, mailHost)
	e := newMailExample(t, "25", "587", "465", "143", "993", "110", "995", "4190")
	e.bind("143", "993", "110", "995")
	submission := freeAddr(t)
	postfix, log := startPostfixWith(t, e.dovecot, "smtpd_upstream_proxy_protocol = haproxy\nsmtpd_relay_restrictions = reject_unauth_destination",
		fmt.Sprintf(mailcowSubmission, submission, cert, key))
	waitTCP(t, submission)
	for name, addr := range map[string]string{
		"postfix-mailcow:10025": postfix, "postfix-mailcow:10587": submission,
		"dovecot-mailcow:10143": e.dovecot.imap, "dovecot-mailcow:10110": e.dovecot.pop3, "dovecot-mailcow:14190": e.dovecot.sieve,
	} {
		e.words[name] = addr
	}
	e.words["tls_server_name"] = "tls_trust_pool file " + ca.file + "\n\t\t\t\t\ttls_server_name"
	e.start(t, "mailcow", "auto_https disable_redirects\ndefault_bind 127.0.0.1\nhttp_port "+port(t, freeAddr(t))+"\nhttps_port "+port(t, freeAddr(t)))
	e.requireMail(t)
	mx := &publicMX{front: &front{caddyServer: e.caddyServer, addr: "127.0.0.1:" + e.ports["25"]}}
	for _, args := range [][]string{nil, {"--tls", "--tls-verify", "--tls-ca-path", e.Root()}} {
		out, err := mx.swaks(t, args...)
		require.NoError(t, err, out)
	}
	e.dovecot.delivered(t, 4)
	requireLogged(t, log, `connect from unknown\[127\.0\.0\.9\]`)
	out, err := mx.swaks(t, "--to", "carol@elsewhere.example")
	require.Error(t, err, "a relay: %s", out)
}
