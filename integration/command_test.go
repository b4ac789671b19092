package integration_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// serverWith is an upgrade.Config with a certificate.
func serverWith(certificate *tls.Certificate) *upgrade.Config {
	return &upgrade.Config{
		TLS:       &tls.Config{Certificates: []tls.Certificate{*certificate}},
		Hostname:  "mail.example.com",
		Hostnames: []string{"mail.example.com", "127.0.0.1"},
	}
}

func TestProbeSaysWhatItFound(t *testing.T) {
	ca := newTestCA(t)
	config := serverWith(issue(t, "Mail", ca.intermediate, nil))
	config.TLS.NextProtos = upgrade.IMAP.ALPN
	address := listenAndServe(t, func(raw net.Conn) {
		conn, err := upgrade.Accept(context.Background(), raw, upgrade.IMAP, config)
		for err == nil {
			_, err = conn.ReadLine()
			_, _ = io.WriteString(conn, "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\na003 OK done\r\n")
		}
	})
	status, out := starttlsProbe(t, "imap", address, "--ca", ca.file, "--server-name", "mail.example.com")
	require.Zero(t, status, out)
	for pattern, constant := range map[string]string{
		`127\.0\.0\.1:`:                             "ADDRESS:",
		`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`:            "DATE",
		`\b\d+\.\d ms`:                              "TIME",
		`\b[0-9a-f]{64}\b`:                          "SHA256",
		`:` + testkit.Port(t, address) + `\b`:       ":PORT",
		`_` + testkit.Port(t, address) + `\._tcp`:   "_PORT._tcp",
		`TLS_[A-Z0-9_]+, (X25519MLKEM768|X25519)\b`: "SUITE, GROUP",
	} {
		out = regexp.MustCompile(pattern).ReplaceAllString(out, constant)
	}
	require.Equal(t, `S: * OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED ID] mail.example.com IMAP server ready
C: a002 STARTTLS
S: a002 OK Begin TLS negotiation now

Server:           ADDRESS:PORT (imap)
Connected:        ADDRESS:PORT
Login before TLS: no
TLS:              TLS 1.3, SUITE, GROUP, imap ALPN
Certificate:      CN=Mail
  names:          mail.example.com, 127.0.0.1
  issuer:         CN=Test Intermediate
  valid:          DATE to DATE UTC, 100 days left
  SHA-256:        SHA256
  key's SHA-256:  SHA256
Certificate:      CN=Test Intermediate
  names:          mail.example.com, 127.0.0.1
  issuer:         CN=Test Root
  valid:          DATE to DATE UTC, 100 days left
  SHA-256:        SHA256
  key's SHA-256:  SHA256
Verification:     ok, for mail.example.com
TLSA to publish:  _PORT._tcp.mail.example.com. IN TLSA 3 1 1 SHA256
Inside TLS:       IMAP4rev1, AUTH=PLAIN
Time:             resolve TIME, connect TIME, negotiate TIME, handshake TIME
Result:           verified
`, out)
}

func TestProbeVerifiesEveryProtocol(t *testing.T) {
	ca := newTestCA(t)
	certificate := issue(t, "Mail", ca.intermediate, nil)
	for _, proto := range upgrade.Protocols() {
		if proto.Request == nil {
			continue
		}
		t.Run(proto.Name, func(t *testing.T) {
			config := serverWith(certificate)
			config.TLS.NextProtos = proto.ALPN
			address := listenAndServe(t, upgrading(proto, config))
			status, p := probeJSON(t, proto.Name, address, "--ca", ca.file)
			require.Zero(t, status, p.Error)
			require.Equal(t, "verified", p.Outcome)
			require.Equal(t, proto.Name, p.Protocol)
			require.Equal(t, address, p.Address)
			require.Equal(t, "127.0.0.1", p.ServerName)
			require.True(t, p.Verification.Verified)
			require.Empty(t, p.Verification.Problems)
			version, alpn := "TLS 1.3", append(proto.ALPN, "")[0]
			if proto.HandshakePackets != nil {
				version, alpn = "TLS 1.2", ""
			}
			require.Equal(t, version, p.TLS.Version)
			require.NotEmpty(t, p.TLS.CipherSuite)
			require.NotEmpty(t, p.TLS.Group)
			require.Equal(t, alpn, p.TLS.ALPN)
			require.Len(t, p.Certificates, 2)
			require.Equal(t, certificate.Leaf.NotAfter, p.Certificates[0].NotAfter)
			require.Equal(t, 100, p.Certificates[0].DaysLeft)
			require.NotEmpty(t, p.Dialogue)
			require.Len(t, p.Tried, 1)
			require.Len(t, p.Times, 4)
		})
	}
}

// A name may have several addresses. The last one tried is the one that answered.
func TestProbeResolves(t *testing.T) {
	ca := newTestCA(t)
	address := listenAndServe(t, upgrading(upgrade.POP3, serverWith(issue(t, "Mail", ca.root, nil))))
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	status, p := probeJSON(t, "pop3", "localhost:"+port, "--ca", ca.file, "--server-name", "127.0.0.1")
	require.Zero(t, status, p.Error)
	require.NotEmpty(t, p.Tried)
	for i, a := range p.Tried {
		require.Equal(t, i == len(p.Tried)-1, a.Error == "", "%v", p.Tried)
	}
	require.Equal(t, address, p.Tried[len(p.Tried)-1].Address)
}

func TestProbeDoesNotVerify(t *testing.T) {
	ca := newTestCA(t)
	past := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-50*time.Hour), time.Now().Add(-25*time.Hour)
	}
	for name, test := range map[string]struct {
		certificate *tls.Certificate
		serverName  string
		problems    []string
	}{
		"wrong name":        {issue(t, "Mail", ca.intermediate, nil), "mx.example.org", []string{"valid for mail.example.com, not mx.example.org"}},
		"self-signed":       {issue(t, "Mail", nil, nil), "mail.example.com", []string{"unknown authority"}},
		"another CA's":      {issue(t, "Mail", newTestCA(t).intermediate, nil), "mail.example.com", []string{"unknown authority"}},
		"no intermediate":   {alone(issue(t, "Mail", ca.intermediate, nil)), "mail.example.com", []string{"unknown authority"}},
		"expired":           {issue(t, "Mail", ca.intermediate, past), "mail.example.com", []string{"expired"}},
		"expired and wrong": {issue(t, "Mail", ca.intermediate, past), "mx.example.org", []string{"expired", "not mx.example.org"}},
		"for clients": {issue(t, "Mail", ca.intermediate, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		}), "mail.example.com", []string{"key usage"}},
	} {
		t.Run(name, func(t *testing.T) {
			address := listenAndServe(t, upgrading(upgrade.SMTP, serverWith(test.certificate)))
			args := []string{"smtp", address, "--ca", ca.file, "--server-name", test.serverName}
			status, p := probeJSON(t, args...)
			require.Equal(t, 4, status)
			require.Equal(t, "unverified", p.Outcome)
			require.False(t, p.Verification.Verified)
			require.Len(t, p.Verification.Problems, len(test.problems))
			for i, problem := range test.problems {
				require.Contains(t, p.Verification.Problems[i], problem)
			}
			require.Equal(t, "CN=Mail", p.Certificates[0].Subject)
			require.Equal(t, strings.HasPrefix(name, "expired"), p.Certificates[0].DaysLeft == -2)

			status, out := starttlsProbe(t, append(args, "--insecure")...)
			require.Zero(t, status)
			require.Contains(t, out, "Result:           unverified\n")
			for _, problem := range test.problems {
				require.Regexp(t, "(?m)^Verification: .*"+regexp.QuoteMeta(problem), out)
			}
		})
	}
}

// alone is a certificate without the one of who has signed it.
func alone(certificate *tls.Certificate) *tls.Certificate {
	certificate.Certificate = certificate.Certificate[:1]
	return certificate
}

// A server that is not upgraded to is reported for what it says, and --insecure does
// not make it better.
func TestProbeFails(t *testing.T) {
	old := serverWith(issue(t, "Mail", nil, nil))
	old.TLS.MaxVersion = tls.VersionTLS11
	const halfHello = "\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03"
	ehlo := "250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"
	for name, test := range map[string]struct {
		serve          func(net.Conn)
		status         int
		outcome, error string
		login, said    string
		phases         int
	}{
		"not offered":        {saying("220 mx\r\n", "250-mx\r\n250 AUTH PLAIN\r\n"), 5, "not offered", "does not offer", "yes", "S: 250 AUTH PLAIN\n", 3},
		"refused":            {saying("220 mx\r\n", ehlo, "454 4.7.0 no\r\n"), 5, "refused", "454 4.7.0 no", "yes", "S: 454 4.7.0 no\n", 3},
		"turned away":        {saying("554 no\r\n"), 7, "failed", "554 no", "unknown", "S: 554 no\n", 3},
		"not the protocol":   {saying("SSH-2.0-OpenSSH\r\n"), 7, "failed", "malformed", "unknown", "S: SSH-2.0-OpenSSH\n", 3},
		"injects":            {saying("220 mx\r\n", ehlo, "220 go\r\n250 mx\r\n"), 7, "failed", "plaintext", "yes", "S: 250 mx\n", 3},
		"breaks off":         {hangingUp("220 mx"), 7, "failed", "EOF", "unknown", "S: 220 mx\n", 3},
		"stays in plaintext": {saying("220 mx\r\n", ehlo, "220 go\r\n", "500 what\r\n"), 7, "failed", "in plaintext", "yes", "S: 220 go\n\n", 4},
		"old TLS":            {upgrading(upgrade.SMTP, old), 7, "failed", "handshake", "no", "C: STARTTLS\n", 4},
		"says nothing":       {saying(""), 6, "timeout", "no answer within 1s", "unknown", "Server: ", 3},
		"half a handshake":   {saying("220 mx\r\n", ehlo, "220 go\r\n", halfHello), 6, "timeout", "no answer within 1s", "yes", "S: 220 go\n\n", 4},
		"ends a handshake":   {hangingUp("220 mx\r\n", ehlo, "220 go\r\n", halfHello), 7, "failed", "handshake", "yes", "S: 220 go\n\n", 4},
		"no handshake":       {saying("220 mx\r\n", ehlo, "220 go\r\n"), 6, "timeout", "no answer within 1s", "yes", "S: 220 go\n\n", 4},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"smtp", listenAndServe(t, test.serve), "--insecure"}
			if test.outcome == "timeout" {
				args = append(args, "--timeout", "1s")
			}
			status, p := probeJSON(t, args...)
			require.Equal(t, test.status, status, "%+v", p)
			require.Equal(t, test.outcome, p.Outcome)
			require.Contains(t, p.Error, test.error)
			require.Equal(t, test.login, p.PlaintextLogin)
			require.Nil(t, p.TLS)
			require.Nil(t, p.Verification)
			require.Len(t, p.Times, test.phases)

			status, out := starttlsProbe(t, args...)
			require.Equal(t, test.status, status, out)
			require.Contains(t, out, test.said)
			require.Contains(t, out, "Login before TLS: "+test.login+"\n")
			require.Regexp(t, "(?m)^Result: +"+test.outcome+", .*"+test.error, out)
		})
	}
}

func TestProbeReachesNobody(t *testing.T) {
	address := freeAddress(t)
	status, p := probeJSON(t, "imap", address)
	require.Equal(t, 6, status)
	require.Equal(t, "unreachable", p.Outcome)
	require.Contains(t, p.Error, "refused")
	require.Len(t, p.Tried, 1)
	require.Equal(t, address, p.Tried[0].Address)
	require.Contains(t, p.Tried[0].Error, "refused")
	require.Len(t, p.Times, 2)

	status, p = probeJSON(t, "imap", "nobody.invalid")
	require.Equal(t, 6, status)
	require.Equal(t, "unreachable", p.Outcome)
	require.Contains(t, p.Error, "nobody.invalid")
	require.Empty(t, p.Tried)
	require.Len(t, p.Times, 1)
}

func TestProbeAddresses(t *testing.T) {
	for args, want := range map[string][2]string{
		"smtp 127.0.0.1 --implicit":  {"127.0.0.1:465", "127.0.0.1"},
		"imap ::1 --implicit -6":     {"[::1]:993", "::1"},
		"smtp 127.0.0.1":             {"127.0.0.1:25", "127.0.0.1"},
		"lmtp 127.0.0.1:":            {"127.0.0.1:24", "127.0.0.1"},
		"imap ::1":                   {"[::1]:143", "::1"},
		"pop3 [::1]":                 {"[::1]:110", "::1"},
		"sieve [::1]:2000":           {"[::1]:2000", "::1"},
		"ldap fe80::1%lo":            {"[fe80::1%lo]:389", "fe80::1"},
		"xmpp localhost":             {"localhost:5222", "localhost"},
		"postgres localhost.":        {"localhost.:5432", "localhost"},
		"line 127.0.0.1:imap":        {"127.0.0.1:imap", "127.0.0.1"},
		"line 127.0.0.1:7 --reply x": {"127.0.0.1:7", "127.0.0.1"},
	} {
		_, p := probeJSON(t, append(strings.Fields(args), "--timeout", "1ns")...) // goes nowhere
		require.Equal(t, want, [2]string{p.Address, p.ServerName}, args)
		require.Equal(t, "unreachable", p.Outcome, args)
	}
}

func TestProbeUsage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, args := range []string{
		"", "smtp", "smtp a b",
		"smpt 127.0.0.1:1",
		"line 127.0.0.1",
		"smtp :25", "smtp 127.0.0.1:0", "smtp 127.0.0.1:65536", "smtp 127.0.0.1:nowhere", "smtp 127.0.0.1:1:1", "smtp [localhost]",
		"smtp 127.0.0.1:1 --server-name a:b",
		"smtp 127.0.0.1:1 --timeout 0s", "smtp 127.0.0.1:1 --timeout soon",
		"smtp 127.0.0.1:1 --ca " + empty, "smtp 127.0.0.1:1 --ca " + empty + ".missing",
		"smtp 127.0.0.1:1 --command STARTTLS", "line 127.0.0.1:1 --command a\nb",
		"smtp 127.0.0.1:1 --unknown",
		"sieve 127.0.0.1 --implicit",
		"imap 127.0.0.1:1 --hello x", "smtp 127.0.0.1:1 --hello a/b",
		"smtp 127.0.0.1:1 -4 -6", "smtp 127.0.0.1:1 --proxy-protocol v3",
		"smtp 127.0.0.1:1 --mx example.com", "smtp --mx example.com --server-name x", "imap --mx example.com", "smtp --mx a:b",
		"smtp 127.0.0.1:1 --resolver a:b:c",
		"smtp 127.0.0.1:1 --mta-sts " + empty, "smtp 127.0.0.1:1 --mta-sts " + empty + ".missing", "smtp 127.0.0.1:1 --mta-sts-domain a:b",
		"smtp 127.0.0.1:1 --mta-sts x --mta-sts-domain y", "imap 127.0.0.1:1 --mta-sts-domain example.com",
		"smtp 127.0.0.1:1 --cert " + empty, "smtp 127.0.0.1:1 --cert " + empty + " --key " + empty,
		"smtp 127.0.0.1:1 --warn-days -1", "smtp 127.0.0.1:1 --warn-days soon",
	} {
		status, out := starttlsProbe(t, strings.FieldsFunc(args, func(r rune) bool { return r == ' ' })...)
		require.Equal(t, 1, status, args)
		require.Empty(t, out, args)
	}
}

// A server may send what a terminal would take for commands, in all that it says.
func TestProbeEscapesWhatItPrints(t *testing.T) {
	const evil = "\x1b]0x\a\u009b31m\u202e"
	certificate := issue(t, evil, nil, func(c *x509.Certificate) {
		c.DNSNames = []string{"\x1b[31m"}
	})
	config := serverWith(certificate)
	for name, serve := range map[string]func(net.Conn){
		"certificate": upgrading(upgrade.SMTP, config),
		"dialogue":    saying("220 "+evil+"\r\n", "250 "+evil+"\xff\x00\r\n"),
		"error":       saying("554 " + evil + "\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			address := listenAndServe(t, serve)
			for _, format := range []string{"--json=false", "--json"} {
				_, out := starttlsProbe(t, "smtp", address, format)
				require.NotRegexp(t, "[^\n -~]", out)
				require.Contains(t, out, "31m")
			}
			_, p := probeJSON(t, "smtp", address)
			if name == "certificate" {
				require.Equal(t, "CN="+evil, p.Certificates[0].Subject, "JSON is faithful")
			} else {
				require.Contains(t, p.Dialogue[0].Text, evil, "JSON is faithful")
			}
		})
	}
}
