package interop

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pgStatSSL asks the server how it is reached.
const pgStatSSL = "SELECT current_user, ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()"

// TestHardenedPostgres has psql without TLS reach a server that demands it, with a
// certificate of the client. That server offers channel binding, which psql in plaintext
// must not get to see.
func TestHardenedPostgres(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	db := hardenedPostgres(t, ca)
	cert, key := ca.issue(t, pgUser)
	r := startRoutes(t, []string{pgHost}, map[string]string{
		"certificate":    upgradeUpstream("postgres", db.addr, upHost, ca, "tls_client_auth "+cert+" "+key),
		"no certificate": upgradeUpstream("postgres", db.addr, upHost, ca),
		"both sides": "starttls postgres " + pgHost + "\n" +
			upgradeUpstream("postgres", db.addr, upHost, ca, "tls_client_auth "+cert+" "+key),
	})
	for _, mode := range []string{"disable", "allow", "prefer", "prefer gssencmode=prefer"} {
		t.Run("sslmode="+mode, func(t *testing.T) {
			login := pgLogin(t, r.addr["certificate"]) + " sslmode=" + mode
			out, err := psql(t, login, pgStatSSL)
			require.NoError(t, err, out)
			require.Equal(t, "alice|t|/CN=alice\n", out)
			out, err = psql(t, login, `\conninfo`)
			require.NoError(t, err, out)
			require.NotContains(t, out, "SSL connection")
			out, err = psql(t, login+" password=wrong", "SELECT 1")
			require.Error(t, err)
			require.Contains(t, out, `password authentication failed for user "alice"`)
		})
	}
	t.Run("sslmode=require", func(t *testing.T) {
		out, err := psql(t, pgLogin(t, r.addr["certificate"])+" sslmode=require", "SELECT 1")
		require.Error(t, err)
		require.Contains(t, out, "server does not support SSL, but SSL was required")
	})
	t.Run("no certificate", func(t *testing.T) {
		login := pgLogin(t, r.addr["no certificate"]) + " sslmode=disable"
		out, err := psql(t, login, "SELECT 1")
		require.Error(t, err)
		require.Contains(t, out, "FATAL:  connection requires a valid client certificate")
		out, err = psql(t, login+" user="+pgGuest, pgStatSSL)
		require.NoError(t, err, out)
		require.Equal(t, "guest|t|\n", out)
	})
	t.Run("both sides", func(t *testing.T) { requirePostgresBothSides(t, r.front("postgres", "both sides")) })
	t.Run("direct", func(t *testing.T) {
		out, err := psql(t, pgLogin(t, db.addr)+" sslmode=disable", "SELECT 1")
		require.Error(t, err)
		require.Contains(t, out, "no pg_hba.conf entry")
	})
}

// requirePostgresBothSides has psql use TLS to Caddy, and Caddy another TLS to the
// server. Both could bind their channel, and SCRAM notices that it is not the same
// one, unless psql is told not to.
func requirePostgresBothSides(t *testing.T, f *front) {
	t.Helper()
	out, err := psql(t, f.verified(t)+" channel_binding=disable", pgStatSSL)
	require.NoError(t, err, out)
	require.Equal(t, "alice|t|/CN=alice\n", out)
	out, err = psql(t, f.verified(t), "SELECT 1")
	require.Error(t, err)
	require.Contains(t, out, "channel binding")
}

// TestHardenedPostgresCancel interrupts a query. The request to cancel it comes on a
// connection of its own, without a login, and has to be upgraded as well.
func TestHardenedPostgresCancel(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	db := hardenedPostgres(t, ca)
	cert, key := ca.issue(t, pgUser)
	r := startRoutes(t, nil, map[string]string{
		"db": upgradeUpstream("postgres", db.addr, upHost, ca, "tls_client_auth "+cert+" "+key),
	})
	interruptPsql(t, db, pgLogin(t, r.addr["db"])+" sslmode=disable", "SELECT pg_sleep(20)")
	require.Contains(t, db.Log(), "canceling statement due to user request")
}

// TestHardenedPostgresCopy reads 50 MB and compares.
func TestHardenedPostgresCopy(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	db := hardenedPostgres(t, ca)
	r := startRoutes(t, nil, map[string]string{"db": upgradeUpstream("postgres", db.addr, upHost, ca)})
	const query = "COPY (SELECT n, repeat(md5(n::text), 33) FROM generate_series(1, 50000) AS n) TO STDOUT"
	direct := copyOut(t, pgLogin(t, db.addr)+" user="+pgGuest+" sslmode=require", query)
	through := copyOut(t, pgLogin(t, r.addr["db"])+" user="+pgGuest+" sslmode=disable", query)
	require.Greater(t, direct.bytes, int64(50_000_000))
	require.Equal(t, direct.bytes, through.bytes)
	require.Equal(t, direct.sum, through.sum)
}

// TestHardenedLDAP has the tools of OpenLDAP, without -Z, search a directory that
// demands TLS.
func TestHardenedLDAP(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	slapd := hardenedSlapd(t, ca)
	r := startRoutes(t, nil, map[string]string{
		"ldap": upgradeUpstream("ldap", slapd.addr, upHost, ca), "direct": "proxy " + slapd.addr,
	})
	direct, f := r.front("ldap", "direct"), r.front("ldap", "ldap")
	out, err := direct.ldap(t, "ldapwhoami")
	require.Error(t, err)
	require.Contains(t, out, "Confidentiality required (13)")

	out, err = f.ldap(t, "ldapwhoami")
	require.NoError(t, err, out)
	require.Equal(t, "dn:"+ldapUser+"\n", out)
	out, err = f.ldapAs(t, ldapHost, "wrong", "ldapwhoami")
	require.Error(t, err)
	require.Contains(t, out, "Invalid credentials (49)")
	out, err = f.ldap(t, "ldapsearch", "-LLL", "-b", "dc=example,dc=com", "(sn=Liddell)", "sn")
	require.NoError(t, err, out)
	require.Contains(t, out, "dn: "+ldapUser+"\nsn: Liddell\n")
	out, err = f.ldap(t, "ldapsearch", "-LLL", "-b", ldapUser, "-s", "one", "sn")
	require.NoError(t, err, out)
	require.Equal(t, ldapEntries, strings.Count(out, "dn: cn=friend"))
	require.Regexp(t, `BIND dn="`+ldapUser+`" mech=SIMPLE .*ssf=0|TLS established tls_ssf=`, slapd.log())
}

// TestHardenedLDAPRefusesUpgrade has clients that would use TLS, or must. There is
// none to be had inside TLS, and neither may end the session of the former.
func TestHardenedLDAPRefusesUpgrade(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	r := startRoutes(t, nil, map[string]string{"ldap": upgradeUpstream("ldap", hardenedSlapd(t, ca).addr, upHost, ca)})
	f := r.front("ldap", "ldap")
	out, err := f.ldap(t, "ldapwhoami", "-Z")
	require.NoError(t, err, out)
	require.Contains(t, out, "dn:"+ldapUser+"\n")
	out, err = f.ldap(t, "ldapwhoami", "-ZZ")
	require.Error(t, err)
	require.Contains(t, out, "ldap_start_tls: ")
}

// TestHardenedXMPP logs in and sends a message without TLS, to a server that demands
// it.
func TestHardenedXMPP(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	prosody := hardenedProsody(t, ca)
	r := startRoutes(t, nil, map[string]string{
		"xmpp": upgradeUpstream("xmpp", prosody.addr, xmppHost, ca), "direct": "proxy " + prosody.addr,
	})
	client := func(name string) (string, error) {
		return run(t, clientTimeout, "", "python3", "testdata/xmpp_client.py",
			port(t, r.addr[name]), "-", xmppHost, xmppUser, xmppPassword)
	}
	t.Run("direct", func(t *testing.T) {
		out, err := client("direct")
		require.Error(t, err, out)
		require.Contains(t, out, "features in plaintext: starttls\n")
	})
	t.Run("by hand", func(t *testing.T) {
		out, err := client("xmpp")
		require.NoError(t, err, out)
		lines := strings.Split(out, "\n")
		require.Len(t, lines, 5, out)
		require.Equal(t, "features in plaintext: mechanisms", lines[0])
		require.Regexp(t, `^features after login: bind (.* )?session`, lines[1])
		require.NotContains(t, lines[1], "starttls")
		require.Equal(t, "message: 1000 words from alice@xmpp.example.com/test", lines[3])
	})
	t.Run("slixmpp", func(t *testing.T) {
		out, err := debianPython(t, "slixmpp", "testdata/xmpp_slixmpp.py", port(t, r.addr["xmpp"]), "-",
			xmppUser+"@"+xmppHost, xmppPassword)
		require.NoError(t, err, out)
		require.Contains(t, out, fmt.Sprintf("session: %s@%s in plaintext\nmessage: hello", xmppUser, xmppHost))
	})
}
