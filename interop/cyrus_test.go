package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cyrusImapdConf are settings of a test, in front of those of the example's README.
const cyrusImapdConf = `
configdirectory: %[1]s/conf
partition-default: %[1]s/spool
defaultpartition: default
sievedir: %[1]s/sieve
admins: cyrus
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: %[1]s/sasldb
autocreate_quota: 0
autocreate_post: 1
servername: mail.example.com
proc_path: %[1]s/run/proc
mboxname_lockpath: %[1]s/run/lock
idlesocket: %[1]s/run/idle
cyrus_user: nobody
%[2]s`

// cyrusConf has the services of the example's README.
const cyrusConf = `
START {
  recover cmd="ctl_cyrusdb -r"
}
%s
EVENTS {
}
`

// A cyrus is a Cyrus IMAP with one user, without TLS. other is where it takes no passwords.
type cyrus struct{ imap, pop3, sieve, other string }

// cyrusCommand finds what Cyrus is to run, whose programs and settings are in no place of the system's.
var cyrusCommand = regexp.MustCompile(`cmd="(\w+)`)

func startCyrus(t testing.TB) (c cyrus) {
	t.Helper()
	unpacked := os.Getenv("CYRUS_ROOT")
	master := filepath.Join(unpacked, "/usr/lib/cyrus/bin/master")
	if _, err := os.Stat(master); err != nil {
		unavailable(t, "Cyrus is not installed, and CYRUS_ROOT does not lead to it: %v", err)
	}
	needRoot(t)
	dir := serverDir(t)
	c = cyrus{freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)}
	for _, name := range []string{"conf", "spool", "run", "sieve"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	blocks := exampleBlocks(t, "cyrus")
	settings := writeFile(t, dir, "imapd.conf", fmt.Sprintf(cyrusImapdConf, dir, blocks[1]))
	other := fmt.Sprintf("SERVICES {\n  other cmd=\"imapd\" listen=%q prefork=0", c.other) // which the settings do not name
	moved := strings.NewReplacer("SERVICES {", other, "127.0.0.1:10143", c.imap, "127.0.0.1:10110", c.pop3, "127.0.0.1:14190", c.sieve).Replace(blocks[0])
	services := writeFile(t, dir, "cyrus.conf", cyrusCommand.ReplaceAllString(fmt.Sprintf(cyrusConf, moved),
		`cmd="`+filepath.Dir(master)+"/$1 -C "+settings))
	out, err := run(t, clientTimeout, mailPassword+"\n", filepath.Join(unpacked, "/usr/sbin/saslpasswd2"), "-p", "-c", "-f", filepath.Join(dir, "sasldb"), "-u", mailHost, mailUser)
	require.NoError(t, err, out)
	for _, name := range []string{"conf", "spool", "run", "sieve", "sasldb"} {
		require.NoError(t, os.Chown(filepath.Join(dir, name), nobodyID, -1))
	}
	cmd := exec.Command(master, "-C", settings, "-M", services, "-p", filepath.Join(dir, "pid"), "-D")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(unpacked, "/usr/lib/x86_64-linux-gnu"))
	startCmd(t, cmd)
	for _, addr := range []string{c.imap, c.pop3, c.sieve, c.other} {
		waitTCP(t, addr)
	}
	return c
}

// TestExampleCyrus has clients of all three protocols, and with TLS from the start.
func TestExampleCyrus(t *testing.T) {
	t.Parallel()
	need(t, "curl", "openssl")
	server := startCyrus(t)
	imap, imaps, pop3, pop3s, sieve := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	c := startExample(t, "cyrus", "", map[string]string{
		":143": imap, ":993": imaps, ":110": pop3, ":995": pop3s, ":4190": sieve,
		"127.0.0.1:10143": server.imap, "127.0.0.1:10110": server.pop3, "127.0.0.1:14190": server.sieve,
	}, []string{mailHost}, imap, imaps, pop3, pop3s, sieve)
	c.requireReadsBack(t, imap, imaps, pop3, pop3s)
	require.Regexp(t, `"logger":"layer4\.starttls\.access".*127\.0\.0\.9`, c.Log())
	script := upgraded(t, c, "sieve", sieve, mailHost)
	script.send(`AUTHENTICATE "PLAIN" "` + plainResponse() + `"`)
	script.expect(`^OK`)
	script.send(`PUTSCRIPT "main" {5+}` + "\nkeep;")
	script.expect(`^OK`)
	script.send("LISTSCRIPTS")
	script.expect(`^"main"`)
	out, err := run(t, clientTimeout, "", "curl", "-sS", "--user", mailUser+":"+mailPassword, "imap://"+server.other+"/INBOX")
	require.Error(t, err, out)
	require.Contains(t, out, "Login denied", "a password without TLS")
}

// requireReadsBack puts a mail into a mailbox, and reads it in all four ways.
func (c *caddyServer) requireReadsBack(t testing.TB, imap, imaps, pop3, pop3s string) {
	t.Helper()
	mail := writeFile(t, t.TempDir(), "mail", "Subject: hello\r\n\r\nas it was written\r\n")
	curl := func(url, addr string, args ...string) string {
		out, err := run(t, clientTimeout, "", "curl", append([]string{"-sS", "--cacert", c.Root(), "--ssl-reqd", "--interface", proxyClient, "--user", mailUser + ":" + mailPassword,
			"--connect-to", "::" + addr, url}, args...)...)
		require.NoError(t, err, out)
		return out
	}
	curl("imap://"+mailHost+"/INBOX", imap, "-T", mail)
	for url, addr := range map[string]string{"imaps://%s/INBOX;MAILINDEX=1": imaps, "pop3://%s/1": pop3, "pop3s://%s/1": pop3s} {
		require.Contains(t, curl(fmt.Sprintf(url, mailHost), addr), "as it was written")
	}
}
