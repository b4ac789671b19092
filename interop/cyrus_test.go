package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

const cyrusImapdConf = `
configdirectory: %[1]s/conf
partition-default: %[1]s/spool
defaultpartition: default
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: %[1]s/sasldb
sasl_mech_list: PLAIN
autocreate_quota: 0
autocreate_post: 1
servername: mail.example.com
proc_path: %[1]s/run/proc
mboxname_lockpath: %[1]s/run/lock
idlesocket: %[1]s/run/idle
cyrus_user: nobody
`

// Its services are those of the example's README.
const cyrusConf = `
START {
  recover cmd="%[1]s/ctl_cyrusdb -C %[2]s -r"
}
SERVICES {
  imap cmd="%[1]s/imapd -C %[2]s -U 30" listen="%[3]s" prefork=0
  pop3 cmd="%[1]s/pop3d -C %[2]s -U 30" listen="%[4]s" prefork=0
  sieve cmd="%[1]s/timsieved -C %[2]s" listen="%[5]s" prefork=0
}
EVENTS {
}
`

// A cyrus is a Cyrus IMAP with one user, without TLS.
type cyrus struct{ imap, pop3, sieve string }

func startCyrus(t testing.TB) (c cyrus) {
	t.Helper()
	unpacked := os.Getenv("CYRUS_ROOT")
	master := filepath.Join(unpacked, "/usr/lib/cyrus/bin/master")
	if _, err := os.Stat(master); err != nil {
		unavailable(t, "Cyrus is not installed, and CYRUS_ROOT does not lead to it: %v", err)
	}
	needRoot(t)
	dir := serverDir(t)
	c = cyrus{freeAddr(t), freeAddr(t), freeAddr(t)}
	for _, name := range []string{"conf", "spool", "run"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	settings := writeFile(t, dir, "imapd.conf", fmt.Sprintf(cyrusImapdConf, dir))
	services := writeFile(t, dir, "cyrus.conf", fmt.Sprintf(cyrusConf, filepath.Dir(master), settings, c.imap, c.pop3, c.sieve))
	out, err := run(t, clientTimeout, mailPassword+"\n", filepath.Join(unpacked, "/usr/sbin/saslpasswd2"), "-p", "-c", "-f", filepath.Join(dir, "sasldb"), "-u", mailHost, mailUser)
	require.NoError(t, err, out)
	for _, name := range []string{"conf", "spool", "run", "sasldb"} {
		require.NoError(t, os.Chown(filepath.Join(dir, name), nobodyID, -1))
	}
	cmd := exec.Command(master, "-C", settings, "-M", services, "-p", filepath.Join(dir, "pid"), "-D")
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(unpacked, "/usr/lib/x86_64-linux-gnu"))
	startCmd(t, cmd)
	waitTCP(t, c.imap)
	return c
}

// TestExampleCyrus has clients of all three protocols, and with TLS from the start.
func TestExampleCyrus(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	server := startCyrus(t)
	imap, imaps, pop3, pop3s, sieve := freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t), freeAddr(t)
	c := startExample(t, "cyrus", "", map[string]string{
		":143": imap, ":993": imaps, ":110": pop3, ":995": pop3s, ":4190": sieve,
		"127.0.0.1:10143": server.imap, "127.0.0.1:10110": server.pop3, "127.0.0.1:14190": server.sieve,
	}, []string{mailHost}, imap, imaps, pop3, pop3s, sieve)
	c.requireReadsBack(t, imap, imaps, pop3, pop3s)
	f := &front{caddyServer: c, proto: "sieve", host: mailHost, addr: sieve}
	f.requireUpgrades(t)
}

// requireReadsBack puts a mail into a mailbox, and reads it in all four ways.
func (c *caddyServer) requireReadsBack(t testing.TB, imap, imaps, pop3, pop3s string) {
	t.Helper()
	mail := writeFile(t, t.TempDir(), "mail", "Subject: hello\r\n\r\nas it was written\r\n")
	curl := func(url, addr string, args ...string) string {
		out, err := run(t, clientTimeout, "", "curl", append([]string{"-sS", "--cacert", c.Root(), "--ssl-reqd", "--user", mailUser + ":" + mailPassword,
			"--connect-to", "::" + addr, url}, args...)...)
		require.NoError(t, err, out)
		return out
	}
	curl("imap://"+mailHost+"/INBOX", imap, "-T", mail)
	for url, addr := range map[string]string{"imaps://%s/INBOX;MAILINDEX=1": imaps, "pop3://%s/1": pop3, "pop3s://%s/1": pop3s} {
		require.Contains(t, curl(fmt.Sprintf(url, mailHost), addr), "as it was written")
	}
}
