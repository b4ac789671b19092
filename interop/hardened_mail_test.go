package interop

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// hardenedMail is a mail server that demands TLS, and Caddy in front, which does it
// for clients that cannot.
type hardenedMail struct {
	*mailFront
	dovecot *dovecot
	servers map[string]*hardened
}

func startHardenedMail(t testing.TB) *hardenedMail {
	t.Helper()
	ca := newAuthority(t)
	m := new(hardenedMail)
	m.dovecot, m.servers = hardenedDovecot(t, ca)
	m.servers["smtp"] = hardenedPostfix(t, ca, m.dovecot, "")
	handlers := make(map[string]string)
	for proto, server := range m.servers {
		handlers[proto] = upgradeUpstream(proto, server.addr, upHost, ca)
	}
	m.mailFront = startRoutes(t, nil, handlers).mailFront()
	return m
}

// TestHardenedMail takes mails all the way through a mail server that demands TLS,
// with clients that do none: submitted, delivered, and read back.
func TestHardenedMail(t *testing.T) {
	t.Parallel()
	need(t, "curl", "python3", "sieve-connect")
	m := startHardenedMail(t)
	t.Run("the servers demand TLS", func(t *testing.T) { requireDemands(t, m) })
	t.Run("curl", func(t *testing.T) { requireHardenedCurl(t, m) })
	t.Run("Python", func(t *testing.T) { requireHardenedPython(t, m) })
	t.Run("sieve-connect", func(t *testing.T) { requireHardenedSieve(t, m) })
	require.NotContains(t, m.dovecot.Log(), "secured", "a client came without TLS")
}

// requireDemands shows that the servers would not serve the clients without Caddy.
func requireDemands(t *testing.T, m *hardenedMail) {
	t.Helper()
	for _, test := range []struct{ proto, greeting, send, want string }{
		{"smtp", "220 ", "MAIL FROM:<a@example.com>", "530 5.7.0 "},
		{"imap", "* OK ", `a LOGIN alice "open sesame"`, "* BAD [ALERT] Plaintext authentication not allowed"},
		{"pop3", "+OK ", "USER alice", "-ERR [AUTH] Plaintext authentication disallowed"},
		{"sieve", "OK ", `AUTHENTICATE "PLAIN" "` + plainResponse() + `"`, "NO "},
	} {
		c := dialPlain(t, m.servers[test.proto].addr)
		c.expect(test.greeting)
		c.send(test.send)
		c.expect(test.want)
	}
}

func requireHardenedCurl(t *testing.T, m *hardenedMail) {
	t.Helper()
	text := message("hardened")
	m.curlInClear(t, "smtp", "/client.example", "--mail-from", mailAddress, "--mail-rcpt", mailAddress, "-T", messageFile(t, text))
	m.dovecot.delivered(t, 1)
	for proto, path := range map[string]string{"imap": "/INBOX;MAILINDEX=1", "pop3": "/1"} {
		file := filepath.Join(t.TempDir(), "mail")
		m.curlInClear(t, proto, path, "-o", file)
		received, err := os.ReadFile(file)
		require.NoError(t, err)
		requireSameMail(t, text, string(received))
		require.Regexp(t, proto+`-login: Info: Login: user=<alice>, .* TLS`, m.dovecot.Log())
	}
	require.Contains(t, m.servers["smtp"].log(), "TLS connection established from")
	m.dovecot.requireReceived(t, `from client\.example [^;]*with ESMTPSA`)
}

// requireHardenedPython has clients that look at what the server offers. Dovecot and
// Postfix offer passwords inside TLS only. Since curl, there is one mail.
func requireHardenedPython(t *testing.T, m *hardenedMail) {
	t.Helper()
	text := message("hardened")
	requireHidden(t, m.pythonInClear(t, "smtp", messageFile(t, text)), " AUTH ")
	requireHidden(t, m.pythonInClear(t, "lmtp", messageFile(t, text)), " 8BITMIME ")
	m.dovecot.delivered(t, 3)
	for _, proto := range []string{"imap", "pop3"} {
		file := filepath.Join(t.TempDir(), "mail")
		requireHidden(t, m.pythonInClear(t, proto, file), "SASL")
		received, err := os.ReadFile(file)
		require.NoError(t, err)
		requireSameMail(t, text, string(received))
	}
}

// pythonInClear is python without an upgrade.
func (f *mailFront) pythonInClear(t testing.TB, proto, file string) string {
	t.Helper()
	out, err := run(t, clientTimeout, "", "python3", "testdata/mail.py", proto, port(t, f.addr[proto]),
		"-", mailUser, mailPassword, mailAddress, file)
	require.NoError(t, err, out)
	require.NotContains(t, out, "verified:")
	return out
}

// requireHardenedSieve uploads a script with a client that was told to do without
// TLS, and reads it back.
func requireHardenedSieve(t *testing.T, m *hardenedMail) {
	t.Helper()
	script := writeFile(t, t.TempDir(), "test.sieve", sieveScript)
	m.sieveInClear(t, "--localsieve", script, "--remotesieve", "test", "--upload")
	m.sieveInClear(t, "--remotesieve", "test", "--activate")
	require.Contains(t, m.sieveInClear(t, "--list"), `"test" ACTIVE`)
	copied := filepath.Join(t.TempDir(), "copy.sieve")
	m.sieveInClear(t, "--remotesieve", "test", "--localsieve", copied, "--download")
	text, err := os.ReadFile(copied)
	require.NoError(t, err)
	require.Equal(t, sieveScript, string(text))
	require.Regexp(t, `managesieve-login: Info: Login: user=<alice>, .* TLS`, m.dovecot.Log())
}

func (f *mailFront) sieveInClear(t testing.TB, args ...string) string {
	t.Helper()
	args = append(args, "--server", "127.0.0.1", "--port", port(t, f.addr["sieve"]), "--nosrv",
		"--clearchan", "--user", mailUser, "--authmech", "PLAIN", "--passwordfd", "0")
	out, err := run(t, clientTimeout, mailPassword+"\n", "sieve-connect", args...)
	require.NoError(t, err, out)
	return out
}
