package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The directory's one user.
const (
	ldapUser     = "cn=alice,dc=example,dc=com"
	ldapPassword = "open sesame"
)

// ldapHost is what the clients of OpenLDAP connect to, and so what they verify. It
// cannot be a name: they verify the name that they connect to, and instead of
// localhost, which would lead to the test, the machine's own one.
const ldapHost = "127.0.0.1"

// ldapEntries is how many entries there are beneath the user, for large answers.
const ldapEntries = 2000

// startSlapd runs an OpenLDAP server without TLS and returns its address.
func startSlapd(t testing.TB) string {
	t.Helper()
	addr := freeAddr(t)
	startSlapdWith(t, "", "ldap://"+addr)
	return addr
}

// startSlapdWith runs an OpenLDAP server with settings of its own, at these URLs.
func startSlapdWith(t testing.TB, settings string, urls ...string) *process {
	t.Helper()
	need(t, "slapd", "slapadd")
	dir := serverDir(t)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
	config := writeFile(t, dir, "slapd.conf", fmt.Sprintf(slapdConf, dir, settings))
	entries := writeFile(t, dir, "entries.ldif", ldapDirectory())
	out, err := run(t, startTimeout, "", "slapadd", "-q", "-f", config, "-l", entries)
	require.NoError(t, err, out)
	p := startProcess(t, "slapd", "-f", config, "-h", strings.Join(urls, " "), "-d", "stats")
	for _, url := range urls {
		waitTCP(t, url[strings.LastIndex(url, "/")+1:])
	}
	return p
}

const slapdConf = `
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/slapd.pid
argsfile %[1]s/slapd.args
sizelimit unlimited
%[2]s
database mdb
suffix "dc=example,dc=com"
directory %[1]s/db
access to attrs=userPassword by anonymous auth by * none
access to * by users read by anonymous auth
`

// ldapDirectory is the directory's content, in LDIF.
func ldapDirectory() string {
	var b strings.Builder
	b.WriteString("dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\no: Example\n\n")
	fmt.Fprintf(&b, "dn: %s\nobjectClass: person\nsn: Liddell\nuserPassword: %s\n\n", ldapUser, ldapPassword)
	for n := range ldapEntries {
		fmt.Fprintf(&b, "dn: cn=friend %d,%s\nobjectClass: person\nsn: %s\n\n", n, ldapUser, strings.Repeat("x", 500))
	}
	return b.String()
}

// startLDAPFront runs Caddy in front of a directory, for the clients of OpenLDAP.
func startLDAPFront(t testing.TB, backend string) *front {
	t.Helper()
	return startFront(t, "ldap", []string{ldapHost, "localhost"}, backend)
}

// ldap runs one of the clients of OpenLDAP, with a certificate demanded wherever
// there is TLS.
func (f *front) ldap(t testing.TB, program string, args ...string) (string, error) {
	t.Helper()
	return f.ldapAs(t, ldapHost, ldapPassword, program, args...)
}

func (f *front) ldapAs(t testing.TB, host, password, program string, args ...string) (string, error) {
	t.Helper()
	need(t, program)
	args = append([]string{
		"LDAPTLS_CACERT=" + f.Root(), "LDAPTLS_REQCERT=demand",
		program, "-H", "ldap://" + host + ":" + port(t, f.addr), "-x", "-D", ldapUser, "-w", password,
	}, args...)
	return run(t, clientTimeout, "", "env", args...)
}

func TestLDAPClients(t *testing.T) {
	t.Parallel()
	f := startFront(t, "ldap", []string{"ldap.example.com", "localhost"}, startSlapd(t))
	f.requireUpgrades(t)
	t.Run("ldap3", func(t *testing.T) {
		out, err := f.ldap3(t)
		require.NoError(t, err, out)
		require.Equal(t, fmt.Sprintf("whoami: dn:%s\nsn: Liddell\nfriends: %d\n", ldapUser, ldapEntries), out)
	})
	t.Run("ALPN", func(t *testing.T) { f.requireALPN(t, "") })
	t.Run("resumption", func(t *testing.T) { f.requireResumption(t, ldapUnbind) })
}

// ldap3 runs a client in Python, which verifies the name localhost.
func (f *front) ldap3(t testing.TB) (string, error) {
	t.Helper()
	return debianPython(t, "ldap3", "testdata/ldap_client.py", "localhost", port(t, f.addr), f.Root(),
		ldapUser, ldapPassword)
}

func TestLDAPOpenLDAP(t *testing.T) {
	t.Parallel()
	f := startLDAPFront(t, startSlapd(t))
	for _, option := range []string{"-ZZ", "-Z"} {
		t.Run("ldapwhoami "+option, func(t *testing.T) {
			out, err := f.ldap(t, "ldapwhoami", option)
			require.NoError(t, err, out)
			require.Equal(t, "dn:"+ldapUser+"\n", out)
			out, err = f.ldapAs(t, ldapHost, "wrong", "ldapwhoami", option)
			require.Error(t, err)
			require.Contains(t, out, "Invalid credentials (49)")
		})
		t.Run("ldapsearch "+option, func(t *testing.T) {
			out, err := f.ldap(t, "ldapsearch", option, "-LLL", "-b", "dc=example,dc=com", "(sn=Liddell)", "sn")
			require.NoError(t, err, out)
			require.Contains(t, out, "dn: "+ldapUser+"\nsn: Liddell\n")
			out, err = f.ldap(t, "ldapsearch", option, "-LLL", "-b", ldapUser, "-s", "one", "sn")
			require.NoError(t, err, out)
			require.Equal(t, ldapEntries, strings.Count(out, "dn: cn=friend"))
		})
	}
}

// TestLDAPVerifies shows that the client of the other tests would have noticed a
// wrong certificate.
func TestLDAPVerifies(t *testing.T) {
	t.Parallel()
	f := startLDAPFront(t, startSlapd(t))
	out, err := f.ldapAs(t, "localhost", ldapPassword, "ldapwhoami", "-ZZ")
	require.Error(t, err, out)
	require.Contains(t, out, "ldap_start_tls: Connect error (-11)")
	require.Contains(t, f.Log(), `"server_name":"localhost"`)
}

// TestLDAPRefusesPlaintext does without TLS, whatever the operation.
func TestLDAPRefusesPlaintext(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startLDAPFront(t, backend)
	out, err := f.ldap(t, "ldapsearch", "-b", "dc=example,dc=com")
	require.Error(t, err)
	require.Contains(t, out, "ldap_bind: Confidentiality required (13)")
	out, err = f.ldap(t, "ldapwhoami")
	require.Error(t, err)
	require.Contains(t, out, "ldap_bind: Confidentiality required (13)")

	out, err = run(t, clientTimeout, "", "ldapsearch", "-x", "-LLL", "-H", "ldap://"+f.addr, "-b", "", "-s", "base", "+")
	require.Error(t, err, "an anonymous ldapsearch begins with a bind")
	require.Contains(t, out, "Confidentiality required (13)")
	require.Zero(t, connections(), "a client without TLS reached the backend")
}

// TestLDAPRefusesInjection puts an operation right behind the upgrade request, as an
// attacker on the path would.
func TestLDAPRefusesInjection(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startLDAPFront(t, backend)
	reply := plainReply(t, f.addr, ldapStartTLS+ldapAnonymousBind)
	require.NotContains(t, reply, "\x78\x07\x0a\x01\x00", "the upgrade went ahead")
	require.NotContains(t, reply, "\x61\x07\x0a\x01\x00", "the bind was answered")
	require.Zero(t, connections())
}

// Operations by hand, with the message ids 1, 2 and 3.
const (
	ldapStartTLS      = "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
	ldapAnonymousBind = "\x30\x0c\x02\x01\x02\x60\x07\x02\x01\x03\x04\x00\x80\x00"
	ldapUnbind        = "\x30\x05\x02\x01\x03\x42\x00"
)

// TestLDAPBackendDown has nothing listen behind Caddy. The client is on TLS by then,
// and is told with a notice of disconnection. OpenLDAP's tools understand it, but
// show it only if asked for everything.
func TestLDAPBackendDown(t *testing.T) {
	t.Parallel()
	f := startLDAPFront(t, freeAddr(t))
	out, err := f.ldap(t, "ldapwhoami", "-ZZ", "-d", "1")
	require.Error(t, err)
	require.Contains(t, out, "res_errno: 52,")
	out, err = f.ldap3(t)
	require.Error(t, err)
	require.Contains(t, out, "session terminated by server")
}

// TestLDAPBackendCloses has slapd end the session. The client must see the end, not
// wait for it.
func TestLDAPBackendCloses(t *testing.T) {
	t.Parallel()
	f := startFront(t, "ldap", []string{"ldap.example.com"}, startSlapd(t))
	out, err := f.sClient(t, ldapUnbind, "-quiet", "-nocommands")
	require.NoError(t, err, out)
}

// TestLDAPOptional lets clients stay in plaintext that do not ask for TLS, but not with
// their passwords, unless that is allowed as well.
func TestLDAPOptional(t *testing.T) {
	t.Parallel()
	backend := startSlapd(t)
	for name, test := range map[string]struct {
		options []string
		clear   string
	}{
		"no passwords in plaintext": {[]string{"policy optional"}, "Confidentiality required (13)"},
		"passwords in plaintext":    {[]string{"policy optional", "allow_plaintext_auth"}, "dn:" + ldapUser},
	} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, "ldap", []string{ldapHost}, backend, test.options...)
			out, _ := f.ldap(t, "ldapwhoami")
			require.Contains(t, out, test.clear)
			out, err := f.ldap(t, "ldapwhoami", "-ZZ")
			require.NoError(t, err, out)
			require.Equal(t, "dn:"+ldapUser+"\n", out)
		})
	}
}
