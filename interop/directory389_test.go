package interop

import (
	"crypto/sha512"
	"encoding/base64"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// manager389 may do everything in a 389 Directory Server.
const manager389 = "cn=Directory Manager"

// start389 runs a 389 Directory Server from the package's template, since its own tool wants systemd. Its settings are those
// of the example's README.
func start389(t testing.TB) (addr string) {
	t.Helper()
	need(t, "ns-slapd")
	template, err := os.ReadFile("/usr/share/dirsrv/data/template-dse.ldif")
	require.NoError(t, err)
	dir, me := serverDir(t), whoAmI(t)
	addr = freeAddr(t)
	const salt = "saltsalt"
	sum := sha512.Sum512([]byte(ldapPassword + salt))
	values := []string{
		"nsslapd-localhost: %fqdn%\n", "nsslapd-localhost: localhost\nnsslapd-listenhost: 127.0.0.1\nnsslapd-require-secure-binds: off\nnsslapd-security: off\n",
		"%ds_passwd%", "{SSHA512}" + base64.StdEncoding.EncodeToString(append(sum[:], salt...)),
		"%ds_port%", port(t, addr), "%ds_user%", me, "%ds_suffix%", "dc=example,dc=com", "%rootdn%", manager389,
		"%db_lib%", "bdb", "%db_home_dir%", dir + "/db", "%schema_dir%", dir + "/config/schema",
		"%ldapi%", dir + "/ldapi", "%ldapi_enabled%", "off", "%ldapi_autobind%", "off",
	}
	for _, name := range []string{"bak", "cert", "config", "db", "inst", "ldif", "lock", "log", "run", "tmp"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		values = append(values, "%"+name+"_dir%", filepath.Join(dir, name))
	}
	settings := strings.NewReplacer(values...).Replace(string(template))
	require.NotContains(t, settings, "%")
	require.Contains(t, settings, "nsslapd-listenhost")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config/dse.ldif"), []byte(settings), 0o600))
	for from, to := range map[string]string{"config/slapd-collations.conf": "config/slapd-collations.conf", "schema/99user.ldif": "config/schema/99user.ldif"} {
		text, err := os.ReadFile(filepath.Join("/etc/dirsrv", from))
		require.NoError(t, err)
		writeFile(t, dir, to, string(text))
	}
	startProcess(t, "ns-slapd", "-D", filepath.Join(dir, "config"), "-i", filepath.Join(dir, "run/pid"), "-d", "16384")
	waitTCP(t, addr)
	return addr
}

func whoAmI(t testing.TB) string {
	t.Helper()
	me, err := user.Current()
	require.NoError(t, err)
	return me.Username
}

// TestExampleDirectory389 has the clients of OpenLDAP, on both ports, in front of a version that reads no header of the PROXY protocol.
func TestExampleDirectory389(t *testing.T) {
	t.Parallel()
	need(t, "ldapwhoami", "ldapsearch")
	addr, direct, backend := freeAddr(t), freeAddr(t), start389(t)
	c := startExample(t, "directory", "", map[string]string{
		":389": addr, ":636": direct, "127.0.0.1:10389": backend, "proxy_protocol v2": "", "ldap.example.com": ldapHost,
	}, []string{ldapHost}, addr, direct)
	for _, at := range [][]string{{"-ZZ", "-H", "ldap://" + addr}, {"-H", "ldaps://" + direct}} {
		client := func(password, program string, args ...string) (string, error) {
			args = append(append([]string{"LDAPTLS_CACERT=" + c.Root(), "LDAPTLS_REQCERT=demand", program}, at...), append([]string{
				"-x", "-D", manager389, "-w", password,
			}, args...)...)
			return run(t, clientTimeout, "", "env", args...)
		}
		out, err := client(ldapPassword, "ldapwhoami")
		require.NoError(t, err, out)
		require.Equal(t, "dn: cn=directory manager\n", out)
		out, err = client("wrong", "ldapwhoami")
		require.Error(t, err)
		require.Contains(t, out, "Invalid credentials (49)")
		out, err = client(ldapPassword, "ldapsearch", "-LLL", "-s", "base", "-b", "", "vendorName", "supportedExtension")
		require.NoError(t, err, out)
		require.Contains(t, out, "vendorName: 389 Project")
	}
	out, err := run(t, clientTimeout, "", "ldapwhoami", "-H", "ldap://"+addr, "-x", "-D", manager389, "-w", ldapPassword)
	require.Error(t, err, "without TLS")
	require.Contains(t, out, "Confidentiality required (13)")
}
