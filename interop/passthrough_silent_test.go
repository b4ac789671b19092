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

// goAheads are how a client asks for the upgrade, and what it is told: by protocol, the
// greeting, what it sends, and the answer, after which TLS must begin.
var goAheads = map[string][3]string{
	"smtp":     {`220 .*\r\n`, "STARTTLS\r\n", `220 .*\r\n`},
	"lmtp":     {`220 .*\r\n`, "STARTTLS\r\n", `220 .*\r\n`},
	"imap":     {`\* OK .*\r\n`, "a STARTTLS\r\n", `a OK .*\r\n`},
	"pop3":     {`\+OK .*\r\n`, "STLS\r\n", `\+OK .*\r\n`},
	"sieve":    {`(".*\r\n)+OK.*\r\n`, "STARTTLS\r\n", `OK.*\r\n`},
	"ldap":     {``, ldapStartTLS, `(?s:0.\x02\x01\x01\x78.*)`},
	"postgres": {``, pgSSLRequest, `S`},
	"xmpp":     {``, xmppHeader + xmppUpgrade, `(?s:.*)<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`},
}

// afterwards are what a client says in plaintext then, that a server without TLS from the
// first byte would answer.
var afterwards = map[string]string{
	"smtp": "EHLO client.example\r\n", "lmtp": "LHLO client.example\r\n", "imap": "b CAPABILITY\r\n", "pop3": "CAPA\r\n",
	"sieve": "CAPABILITY\r\n", "ldap": ldapAnonymousBind, "postgres": pgStartup(pgGuest), "xmpp": xmppHeader,
}

// startPassthroughTaps runs Caddy in front of servers with TLS of their own, and writes
// down what goes up to each of them.
func startPassthroughTaps(t testing.TB) (*routes, map[string]*tap) {
	t.Helper()
	d := startDovecot(t, tlsOn(t))
	cert, key := selfSigned(t, "backend.example.com")
	slapd := freeAddr(t)
	startSlapdWith(t, fmt.Sprintf("TLSCertificateFile %s\nTLSCertificateKeyFile %s", cert, key), "ldap://"+slapd)
	require.NoError(t, os.Chmod(key, 0o600))
	asPostgresUser(t, key)
	db := startPostgresWith(t, "host all all 127.0.0.1/32 trust\n", "-c", "ssl=on", "-c", "ssl_cert_file="+cert, "-c", "ssl_key_file="+key)
	servers := map[string]string{
		"smtp": startPostfix(t, d, upgradingPostfix(t)), "lmtp": d.lmtp, "imap": d.imap, "pop3": d.pop3, "sieve": d.sieve,
		"ldap": slapd, "postgres": db.addr, "xmpp": startProsody(t, prosodyTLS(t)),
	}
	taps, handlers := make(map[string]*tap), make(map[string]string)
	for proto, addr := range servers {
		taps[proto] = startTap(t, addr)
		begin := fmt.Sprintf("starttls %s {\npassthrough\nhandshake_timeout 1s\n}\n", proto)
		handlers[proto+" raw"] = begin + "proxy " + taps[proto].addr
		handlers[proto+" upstream"] = begin + fmt.Sprintf("starttls_upstream %s {\npassthrough\n}\nproxy %s", proto, taps[proto].addr)
	}
	return startRoutes(t, nil, handlers), taps
}

// TestPassthroughNeedsTLS has clients that get the go-ahead, and then go on in plaintext
// or say nothing. Their servers, which would answer them, are not even dialled, and the
// connections end. Then come clients that do begin TLS.
func TestPassthroughNeedsTLS(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	r, taps := startPassthroughTaps(t)
	t.Run("without", func(t *testing.T) {
		for name, addr := range r.addr {
			proto, _, _ := strings.Cut(name, " ")
			for does, say := range map[string]string{"plaintext": afterwards[proto], "silence": ""} {
				t.Run(name+" "+does, func(t *testing.T) {
					t.Parallel()
					requireEnds(t, addr, proto, say)
				})
			}
		}
	})
	for proto, tap := range taps {
		require.Zero(t, tap.dialled.Load(), "%s: a client without TLS reached the server", proto)
	}
	for proto, tap := range taps {
		t.Run("with "+proto, func(t *testing.T) {
			out, err := run(t, clientTimeout, "", "openssl", "s_client", "-brief", "-starttls", proto, "-connect", r.addr[proto+" upstream"], "-name", xmppHost)
			require.NoError(t, err, out)
			require.Contains(t, out, "backend.example.com")
			require.NotZero(t, tap.dialled.Load())
		})
	}
}

// requireEnds asks for the upgrade, and has nothing but the end behind the go-ahead.
func requireEnds(t *testing.T, addr, proto, say string) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(attackTimeout)))
	c := &matrixClient{t: t, Conn: conn}
	if goAheads[proto][0] != "" {
		c.expect(goAheads[proto][0])
	}
	_, err = c.Write([]byte(goAheads[proto][1]))
	require.NoError(t, err)
	c.expect(goAheads[proto][2])
	_, err = c.Write([]byte(say))
	require.NoError(t, err)
	require.Empty(t, strings.TrimSpace(readRest(t, conn)))
}
