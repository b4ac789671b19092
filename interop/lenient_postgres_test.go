package interop

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pgRefusal is an error that ends the session, with the code for what is not supported.
const pgRefusal = `(?s:E.*C0A000.*)`

// pgGSSENCRequest asks for encryption by Kerberos.
const pgGSSENCRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"

// TestLenientPostgres asks a PostgreSQL with TLS of its own for encryption, inside TLS.
func TestLenientPostgres(t *testing.T) {
	t.Parallel()
	cert, key := selfSigned(t, upHost)
	require.NoError(t, os.Chmod(key, 0o600))
	asPostgresUser(t, key)
	db := startPostgresWith(t, "host all all 127.0.0.1/32 trust\n", "-c", "ssl=on", "-c", "ssl_cert_file="+cert,
		"-c", "ssl_key_file="+key, "-c", "log_connections=on")
	r := &attackRun{startAttackRoutes(t, "policy optional", map[string]string{"postgres": db.addr}), "postgres", nil, nil}
	r.begin = func(string) attackBegin { return attackBegin{} }
	r.alpn = []string{"postgresql"} // without which PostgreSQL takes no TLS from the first byte
	var attacks []attack
	for name, send := range map[string]string{
		"SSLRequest": pgSSLRequest, "GSSENCRequest": pgGSSENCRequest, "both": pgSSLRequest + pgGSSENCRequest,
		"SSLRequest and startup": pgSSLRequest + pgStartup(pgGuest), "GSSENCRequest and startup": pgGSSENCRequest + pgStartup(pgGuest),
		"long SSLRequest": "\x00\x00\x00\x0c\x04\xd2\x16\x2f\x00\x00\x00\x00", "long GSSENCRequest": "\x00\x00\x00\x0c\x04\xd2\x16\x30\x00\x00\x00\x00",
	} {
		attacks = append(attacks, attack{name: name, ends: true, steps: [][2]string{{send, pgRefusal}}})
	}
	attacks = append(attacks, attack{name: "in parts", ends: true, steps: [][2]string{{pgSSLRequest[:4], ``}, {pgSSLRequest[4:], pgRefusal}}})
	r.attack(t, "postgres", []string{"starttls", "tls"}, attacks)
	require.NotContains(t, db.Log(), "user="+pgGuest)

	for _, way := range []string{"starttls", "tls"} {
		c := &matrixClient{t: t, Conn: r.dial(t, "postgres", way, r.addr["postgres "+way])}
		steps := postgresMatrix("plain").steps
		steps[0][0] = pgStartup(pgGuest)
		c.hold(matrixDialogue{steps: steps}, way)
	}
	require.NotContains(t, db.Log(), "SSL enabled")
	require.Contains(t, db.Log(), "user="+pgGuest)

	c := &matrixClient{t: t, Conn: r.dial(t, "postgres", "plain", db.addr)}
	_, err := c.Write([]byte(pgSSLRequest))
	require.NoError(t, err)
	c.expect("S")
	out, err := psql(t, pgLogin(t, db.addr)+" sslmode=require", "SELECT 1")
	require.NoError(t, err, out)
	require.True(t, strings.Contains(db.Log(), "SSL enabled"), "the log would not have shown it")
}
