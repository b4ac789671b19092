package interop

import (
	"crypto/tls"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMailImplicitTLS has one port take TLS from the first byte and the upgrade. The
// backend's greeting belongs to the client that begins with TLS, and only to it.
func TestMailImplicitTLS(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailBehind(t, "implicit_tls")
	for _, test := range []struct{ proto, greeting, ask, answer string }{
		{"smtp", `\A220 .*\n`, "EHLO client.example", `\A250-.*\n`},
		{"lmtp", `\A220 .*\n`, "LHLO client.example", `\A250-.*\n`},
		{"imap", `\A\* OK .*\n`, `a LOGIN alice "open sesame"`, `\A(\* .*\n)?a OK .*\n`},
		{"pop3", `\A\+OK .*\n`, "USER alice", `\A\+OK.*\n`},
		{"sieve", `\A(".*\n)+OK .*\n`, `AUTHENTICATE "PLAIN" "` + plainResponse() + `"`, `\AOK .*\n`},
	} {
		t.Run(test.proto, func(t *testing.T) {
			direct := mail.direct(t, mail.addr[test.proto], mailHost)
			direct.expect(test.greeting)
			direct.send(test.ask)
			direct.expect(test.answer)
			asked := mail.upgraded(t, test.proto)
			if test.proto == "sieve" {
				asked.expect(test.greeting)
			}
			asked.send(test.ask)
			asked.expect(test.answer)
		})
	}
}

// TestMailImplicitTLSHidesBackendUpgrades has backends that offer an upgrade of their
// own. A client that began with TLS has their greeting, but must not hear of that,
// nor get there without having heard.
func TestMailImplicitTLSHidesBackendUpgrades(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	mail := startMailBehindWith(t, "implicit_tls", tlsOn(t), upgradingPostfix(t))
	for _, test := range []struct{ proto, greeting, has, ask, listEnd, upgrade, refusal string }{
		{"smtp", `\A220 .*\n`, "ESMTP", "EHLO client.example", `^250 .*\n`, "STARTTLS", `^503 .*\n`},
		{"lmtp", `\A220 .*\n`, "220", "LHLO client.example", `^250 .*\n`, "STARTTLS", `^503 .*\n`},
		{"imap", `\A\* OK .*\n`, "[CAPABILITY IMAP4rev1", "a CAPABILITY", `^a OK .*\n`, "b STARTTLS", `^b BAD .*\n`},
		{"pop3", `\A\+OK .*\n`, "+OK", "CAPA", `^\.\r?\n`, "STLS", `^-ERR .*\n`},
		{"sieve", `\A(".*\n)+OK .*\n`, `"SASL" "PLAIN LOGIN"`, "CAPABILITY", `^OK .*\n`, "STARTTLS", `^NO .*\n`},
	} {
		t.Run(test.proto, func(t *testing.T) {
			c := mail.direct(t, mail.addr[test.proto], mailHost)
			requireHidden(t, c.expect(test.greeting), test.has)
			for range 2 {
				c.send(test.ask)
				requireHidden(t, c.expect(test.listEnd), "")
				c.send(test.upgrade)
				c.expect(test.refusal)
			}
		})
	}
}

// direct starts an s_client that begins with TLS and sends lines in it.
func (c *caddyServer) direct(t testing.TB, addr, host string, args ...string) *dialogue {
	t.Helper()
	return startDialogue(t, "openssl", append([]string{
		"s_client", "-quiet", "-crlf", "-connect", addr, "-servername", host,
		"-verify_hostname", host, "-verify_return_error", "-CAfile", c.Root(),
	}, args...)...)
}

// TestMailImplicitTLSDelivers takes a mail all the way without an upgrade.
func TestMailImplicitTLSDelivers(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	mail := startMailBehind(t, "implicit_tls")
	text := message("implicit")
	curl := func(proto, path string, args ...string) string {
		where := mailHost + ":" + port(t, mail.addr[proto])
		out, err := run(t, clientTimeout, "", "curl", append(args, "-sS", "--cacert", mail.Root(),
			"--resolve", where+":127.0.0.1", "-u", mailUser+":"+mailPassword, proto+"s://"+where+path)...)
		require.NoError(t, err, out)
		return out
	}
	curl("smtp", "/client.example", "--mail-from", mailAddress, "--mail-rcpt", mailAddress, "-T", messageFile(t, text))
	mail.dovecot.delivered(t, 1)
	requireSameMail(t, text, curl("imap", "/INBOX;MAILINDEX=1"))
	requireSameMail(t, text, curl("pop3", "/1"))
}

// TestPostgresImplicitTLS serves on one port whoever begins with TLS, asks for it, or
// wants none.
func TestPostgresImplicitTLS(t *testing.T) {
	t.Parallel()
	db := startPostgres(t)
	f := startPostgresFront(t, db.addr, "policy optional", "implicit_tls")
	for _, mode := range []string{"disable", "prefer", "require"} {
		out, err := psql(t, pgLogin(t, f.addr)+" sslmode="+mode, "SELECT current_user")
		require.NoError(t, err, out)
		require.Equal(t, "alice\n", out)
	}
	c := f.direct(t, f.addr, pgHost, "-nocommands", "-alpn", "postgresql")
	c.write(pgStartup(pgGuest))
	c.expect(`\AR\x00\x00\x00\x08\x00\x00\x00\x00(?s:.*)Z\x00\x00\x00\x05I`)
	const query = "SELECT 6*7, current_user"
	c.write("Q" + string(binary.BigEndian.AppendUint32(nil, uint32(4+len(query)+1))) + query + "\x00")
	c.expect(`42\x00\x00\x00\x05guest`)
}

// TestPostgresImplicitTLSNeedsALPN offers no ALPN, and a foreign one, with TLS from
// the first byte. PostgreSQL requires its own then, lest one protocol's client be
// sent to the other's server.
func TestPostgresImplicitTLSNeedsALPN(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	backend, connections := countingBackend(t)
	f := startPostgresFront(t, backend, "policy optional", "implicit_tls")
	for _, alpn := range [][]string{nil, {"http/1.1"}} {
		_, err := tls.Dial("tcp", f.addr, &tls.Config{ServerName: pgHost, RootCAs: f.pool(t), NextProtos: alpn})
		require.ErrorContains(t, err, "no application protocol")
	}
	out, err := run(t, clientTimeout, "", "openssl", "s_client", "-connect", f.addr, "-servername", pgHost)
	require.Error(t, err)
	require.Contains(t, out, "no application protocol")
	require.Zero(t, connections(), "a client without ALPN reached the backend")
}
