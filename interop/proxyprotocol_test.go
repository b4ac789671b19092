package interop

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxyClient is where clients come from that a backend must tell from Caddy, which
// reaches it from 127.0.0.1.
const proxyClient = "127.0.0.9"

// publicMX is a Postfix that takes mail for its own domain from everybody, and
// relays for those at its own address, which is Caddy's as well.
type publicMX struct {
	*front
	dovecot *dovecot
	log     string
}

// mxSettings make the Postfix of startPostfix a public one.
const mxSettings = `
smtpd_sasl_auth_enable = no
smtpd_upstream_proxy_protocol = haproxy
mynetworks = 127.0.0.1
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
`

// startPublicMX runs Postfix, and Caddy in front, which tells it who is calling.
func startPublicMX(t testing.TB) *publicMX {
	t.Helper()
	return startPublicMXFor(t, "mx.example.com")
}

// startPublicMXFor is startPublicMX with the name in the certificate.
func startPublicMXFor(t testing.TB, host string) *publicMX {
	t.Helper()
	mx := &publicMX{dovecot: startDovecot(t, tlsOff)}
	var backend string
	backend, mx.log = startPostfixWith(t, mx.dovecot, mxSettings, "")
	mx.front = startFrontBefore(t, "smtp", []string{host}, "send_proxy_protocol\nproxy "+backend, "policy optional")
	return mx
}

// swaks sends a mail from proxyClient, unless the arguments say otherwise.
func (mx *publicMX) swaks(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return run(t, clientTimeout, "", "swaks", append([]string{
		"--server", "127.0.0.1", "--port", port(t, mx.addr), "--local-interface", proxyClient,
		"--helo", "client.example", "--from", "bob@example.net", "--to", mailAddress,
	}, args...)...)
}

// requireLogged waits for a line in a log.
func requireLogged(t testing.TB, log, pattern string) {
	t.Helper()
	eventually(t, startTimeout, "the log to say "+pattern, func() bool {
		text, _ := os.ReadFile(log)
		return matches(pattern, string(text))
	})
}

// TestPublicMX has senders that insist on TLS, that prefer it, and that know nothing
// of it.
func TestPublicMX(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	mx := startPublicMX(t)
	for i, test := range []struct {
		name, helo string
		args       []string
		tls        bool
	}{
		{"TLS", "insists.example", []string{"--tls", "--tls-verify", "--tls-ca-path", mx.Root()}, true},
		{"TLS if possible", "prefers.example", []string{"--tls-optional"}, true},
		{"no TLS", "knows-not.example", nil, false},
		{"HELO", "old.example", []string{"--protocol", "SMTP"}, false},
		{"pipelining", "hurries.example", []string{"--pipeline"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := mx.swaks(t, append(test.args, "--helo", test.helo)...)
			require.NoError(t, err, out)
			require.Equal(t, test.tls, matches("=== TLS started", out), out)
			mx.dovecot.delivered(t, i+1)
			mx.dovecot.requireReceived(t, "from "+test.helo+` \(unknown \[127\.0\.0\.9\]\)`)
		})
	}
	requireLogged(t, mx.log, `: client=unknown\[127\.0\.0\.9\]`)
}

// requireReceived requires that a mail has a Received field that matches.
func (d *dovecot) requireReceived(t testing.TB, pattern string) {
	t.Helper()
	d.received(t, pattern)
}

// received returns the mail that has a Received field that matches.
func (d *dovecot) received(t testing.TB, pattern string) string {
	t.Helper()
	files := d.mails()
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		if matches("(?m)^Received: "+pattern, string(text)) {
			return string(text)
		}
	}
	require.FailNow(t, "no mail was received "+pattern, "%q", files)
	return ""
}

// TestPublicMXRelaysForNobody has a stranger send to elsewhere. Postfix would relay
// for Caddy's own address, and does so for a client that is really there.
func TestPublicMXRelaysForNobody(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	mx := startPublicMX(t)
	for name, args := range map[string][]string{"in TLS": {"--tls"}, "in plaintext": nil} {
		t.Run(name, func(t *testing.T) {
			args := append(args, "--to", "carol@example.org", "--quit-after", "RCPT")
			out, err := mx.swaks(t, args...)
			require.Error(t, err, out)
			require.Regexp(t, `<(~\*|\*\*) 554 5\.7\.1 <carol@example\.org>: Relay access denied`, out)
			out, err = mx.swaks(t, append(args, "--local-interface", "127.0.0.1")...)
			require.NoError(t, err, out)
		})
	}
	requireLogged(t, mx.log, `RCPT from unknown\[127\.0\.0\.9\]: 554 5\.7\.1 <carol@example\.org>: Relay access denied`)
}

// TestPublicMXFromPostfix has another Postfix as sender: one with opportunistic TLS,
// as they all are, and one without.
func TestPublicMXFromPostfix(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	for level, want := range map[string]string{
		"may":     `Untrusted TLS connection established to 127\.0\.0\.1\[127\.0\.0\.1\]:\d+: TLSv1\.3`,
		"encrypt": `Untrusted TLS connection established to 127\.0\.0\.1\[127\.0\.0\.1\]:\d+: TLSv1\.3`,
		"none":    `status=sent`,
	} {
		t.Run(level, func(t *testing.T) {
			mx := startPublicMX(t)
			sender, log := startPostfixSender(t, mx, level)
			out, err := run(t, clientTimeout, "", "swaks", "--server", sender, "--from", "bob@example.net", "--to", mailAddress)
			require.NoError(t, err, out)
			mx.dovecot.delivered(t, 1)
			mx.dovecot.requireReceived(t, `from sender\.example \(unknown \[127\.0\.0\.9\]\)`)
			requireLogged(t, log, want)
			if level == "none" {
				text, err := os.ReadFile(log)
				require.NoError(t, err)
				require.NotContains(t, string(text), "TLS connection established")
			}
		})
	}
}

// startPostfixSender runs a Postfix that sends what it gets to the MX. It returns
// its address and its log.
func startPostfixSender(t testing.TB, mx *publicMX, tlsLevel string) (addr, log string) {
	t.Helper()
	return startPostfixWith(t, mx.dovecot, fmt.Sprintf(`
myhostname = sender.example
virtual_mailbox_domains =
mynetworks = 127.0.0.1
smtpd_sasl_auth_enable = no
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [127.0.0.1]:%s
smtp_bind_address = %s
smtp_tls_security_level = %s
smtp_tls_loglevel = 1
`, port(t, mx.addr), proxyClient, tlsLevel), "smtp unix - - n - - smtp\n")
}

// dovecotProxied makes the Dovecot of startDovecot one that takes passwords only of
// those on TLS, and believes Caddy that somebody is. Its other IMAP listener, on an
// address other than Caddy's, knows nothing of the PROXY protocol.
const dovecotProxied = `
ssl = no
disable_plaintext_auth = yes
haproxy_trusted_networks = 127.0.0.1
auth_debug = yes
service imap-login {
  inet_listener imap {
    haproxy = yes
  }
  inet_listener imap-other {
    address = %s
    port = %s
  }
}
service pop3-login {
  inet_listener pop3 {
    haproxy = yes
  }
}
service managesieve-login {
  inet_listener sieve {
    haproxy = yes
  }
}
`

// startDovecotProxied runs it and returns the address of its other listener.
func startDovecotProxied(t testing.TB) (d *dovecot, other string) {
	t.Helper()
	_, number := splitAddr(t, freeAddr(t))
	other = "127.0.0.5:" + number
	// The settings in the middle of the file would be overridden by those behind.
	d = startDovecotWith(t, "", fmt.Sprintf(dovecotProxied, "127.0.0.5", number))
	waitTCP(t, other)
	return d, other
}

// TestDovecotLearnsOfTLS logs in to a Dovecot that is reached in plaintext and refuses
// passwords in plaintext. Without our header, or with one that says nothing of TLS, it
// has to refuse. To the log of logins TLS that ended elsewhere is "secured", up to
// Dovecot 2.3; the auth service is told of "tls", and of the name asked for.
func TestDovecotLearnsOfTLS(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	d, other := startDovecotProxied(t)
	for _, test := range []struct {
		name, proto, handlers string
		login                 string // the service that logs it, if it works
	}{
		{"IMAP", "imap", "send_proxy_protocol\nproxy " + d.imap, "imap"},
		{"POP3", "pop3", "send_proxy_protocol\nproxy " + d.pop3, "pop3"},
		{"v1", "imap", "send_proxy_protocol v1\nproxy " + d.imap, ""},
		{"caddy-l4's own", "imap", "proxy {\nproxy_protocol v2\nupstream " + d.imap + "\n}", ""},
		{"no header", "imap", "proxy " + other, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := startFrontBefore(t, test.proto, []string{mailHost}, test.handlers)
			out, err := f.curlFrom(t, proxyClient)
			if test.login == "" {
				require.Error(t, err, out)
				require.Contains(t, out, "LOGINDISABLED")
				require.Contains(t, out, "Login denied")
				return
			}
			require.NoError(t, err, out)
			require.Regexp(t, "AUTH\t1\tPLAIN\tservice="+test.login+"\tsecured=tls\t.*\trip=127\\.0\\.0\\.9\t.*\tlocal_name="+mailHost, d.Log())
			require.Regexp(t, test.login+`-login: Info: Login: user=<alice>, .* rip=127\.0\.0\.9, lip=127\.0\.0\.1, .* secured,`, d.Log())
		})
	}
	require.NotRegexp(t, `Login: .* rip=127\.0\.0\.1,`, d.Log())
	require.Regexp(t, `rip=127\.0\.0\.1, lip=127\.0\.0\.5`, d.Log(), "the client without a header was somebody else")
}

// curlFrom logs in, from an address of its own.
func (f *front) curlFrom(t testing.TB, source string) (string, error) {
	t.Helper()
	where := f.host + ":" + port(t, f.addr)
	return run(t, clientTimeout, "", "curl", "-sSv", "--ssl-reqd", "--cacert", f.Root(), "--interface", source,
		"--resolve", where+":127.0.0.1", "-u", mailUser+":"+mailPassword, f.proto+"://"+where+"/")
}

// TestCaddyLearnsOfTheClient has another Caddy as receiver of the header, which
// lets nobody through but proxyClient.
func TestCaddyLearnsOfTheClient(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	d := startDovecot(t, tlsOff)
	receiver := freeAddr(t)
	startCaddy(t, fmt.Sprintf(`%s {
		route {
			proxy_protocol {
				allow 127.0.0.1/32
			}
			subroute {
				@client remote_ip %s
				route @client {
					proxy %s
				}
			}
		}
	}`, receiver, proxyClient, d.imap), nil, receiver)
	for _, version := range []string{"v1", "v2"} {
		t.Run(version, func(t *testing.T) {
			f := startFrontBefore(t, "imap", []string{mailHost}, "send_proxy_protocol "+version+"\nproxy "+receiver)
			out, err := f.curlFrom(t, proxyClient)
			require.NoError(t, err, out)
			out, err = f.curlFrom(t, "127.0.0.1")
			require.Error(t, err, out)
		})
	}
}
