package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// courierPrograms are those that run, and the module that checks passwords.
var courierPrograms = []string{
	"/usr/sbin/couriertcpd", "/usr/lib/courier/courier-authlib/authdaemond", "/usr/lib/courier/courier-authlib/makedatprog",
	"/usr/lib/courier-authlib/libauthuserdb.so.0", "/usr/lib/courier/courier/imaplogin", "/usr/bin/imapd",
	"/usr/lib/courier/courier/courierpop3login", "/usr/lib/courier/courier/courierpop3d", "/usr/bin/maildirmake.courier",
}

const (
	courierAuth = "authmodulelist=authuserdb\nauthmodulelistorig=authuserdb\ndaemons=1\nauthdaemonvar=/run/courier/authdaemon\nDEBUG_LOGIN=0\n"
	// courierIMAP and courierPOP3 are the end of Debian's script for each, which would not stay in the foreground.
	courierIMAP = `set -a
. /etc/courier/imapd-ssl
. /etc/courier/imapd
IMAP_STARTTLS=$IMAPDSTARTTLS
exec /usr/sbin/couriertcpd -address=$ADDRESS -maxprocs=$MAXDAEMONS -maxperip=$MAXPERIP $TCPDOPTS -stderr=/tmp/imapd.log \
	$PORT /usr/lib/courier/courier/imaplogin /usr/bin/imapd $MAILDIRPATH
`
	courierPOP3 = `set -a
. /etc/courier/pop3d-ssl
. /etc/courier/pop3d
exec /usr/sbin/couriertcpd -address=$ADDRESS -maxprocs=$MAXDAEMONS -maxperip=$MAXPERIP $TCPDOPTS -stderr=/tmp/pop3d.log \
	$PORT /usr/lib/courier/courier/courierpop3login /usr/lib/courier/courier/courierpop3d $MAILDIRPATH
`
)

// courier is a running Courier, with one user.
type courier struct {
	*jail
	imap, pop3 string
}

// startCourier runs Debian's Courier with Debian's settings, behind which it has those of the example's README.
func startCourier(t testing.TB) *courier {
	t.Helper()
	c := &courier{imap: freeAddr(t), pop3: freeAddr(t)}
	c.jail = newJail(t, "COURIER_ROOT", courierPrograms, mailUser+":x:1000:1000::/home:/bin/sh\n")
	settings := exampleBlocks(t, "courier")
	for i, name := range []string{"imapd", "pop3d", "imapd-ssl", "pop3d-ssl"} {
		path := filepath.Join(c.dir, "etc/courier", name)
		debian, err := os.ReadFile(path)
		require.NoError(t, err)
		moved := strings.NewReplacer("10143", port(t, c.imap), "10110", port(t, c.pop3)).Replace(settings[i])
		writeFile(t, c.dir, "etc/courier/"+name, string(debian)+"\n"+moved)
	}
	writeFile(t, c.dir, "etc/courier/authdaemonrc", courierAuth)
	require.NoError(t, os.MkdirAll(filepath.Join(c.dir, "run/courier/authdaemon"), 0o755))
	for name, text := range map[string]string{
		"userdb": "uid=1000|gid=1000|home=/home|shell=/bin/sh", "userdbshadow": "systempw=" + passwordHash(t, mailPassword),
	} {
		c.run(t, fmt.Sprintf("%s\t%s\n.\n", mailUser, text), "/usr/lib/courier/courier-authlib/makedatprog", "-", "/tmp/"+name, "/etc/courier/"+name+".dat")
	}
	require.NoError(t, os.Mkdir(filepath.Join(c.dir, "home"), 0o755))
	c.run(t, "", "/usr/bin/maildirmake.courier", "/home/Maildir")
	c.start(t)
	return c
}

// start leaves the Maildir to the user, and runs the servers.
func (c *courier) start(t testing.TB) {
	t.Helper()
	require.NoError(t, filepath.Walk(filepath.Join(c.dir, "home"), func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, 1000, 1000)
	}))
	startCmd(t, c.command("/usr/lib/courier/courier-authlib/authdaemond"))
	waitFor := filepath.Join(c.dir, "run/courier/authdaemon/socket")
	eventually(t, startTimeout, "Courier's authdaemond", func() bool {
		_, err := os.Stat(waitFor)
		return err == nil
	})
	for addr, script := range map[string]string{c.imap: courierIMAP, c.pop3: courierPOP3} {
		startCmd(t, c.command("/bin/sh", "-c", script))
		waitTCP(t, addr)
	}
	showOnFailure(t, c.log("imapd"))
	showOnFailure(t, c.log("pop3d"))
}

// log is what a server writes about its clients.
func (c *courier) log(name string) string { return filepath.Join(c.dir, "tmp", name+".log") }

// TestExampleCourier has clients of each port. All have Caddy's address, and there may be more of them than Debian's
// settings let come from one.
func TestExampleCourier(t *testing.T) {
	t.Parallel()
	need(t, "curl", "openssl")
	server := startCourier(t)
	text := message("for Courier")
	mail := filepath.Join(server.dir, "home/Maildir/new/1.1.mail.example.com")
	require.NoError(t, os.WriteFile(mail, []byte(strings.ReplaceAll(text, "\r\n", "\n")), 0o600))
	require.NoError(t, os.Chown(mail, 1000, 1000))
	e := &mailExample{words: map[string]string{"127.0.0.1:10143": server.imap, "127.0.0.1:10110": server.pop3}, ports: map[string]string{}}
	for _, number := range []string{"143", "993", "110", "995"} {
		e.ports[number] = port(t, freeAddr(t))
	}
	e.bind("143", "993", "110", "995")
	e.start(t, "courier", "")
	for _, c := range []struct{ s, imap, pop3 string }{{"", "143", "110"}, {"s", "993", "995"}} {
		requireSameMail(t, text, e.curl(t, "imap"+c.s, c.imap, "/INBOX;MAILINDEX=1", "--login-options", "AUTH=PLAIN"))
		requireSameMail(t, text, e.curl(t, "pop3"+c.s, c.pop3, "/1", "--login-options", "AUTH=PLAIN"))
	}
	for _, name := range []string{"imapd", "pop3d"} {
		requireLogged(t, server.log(name), `LOGIN, user=alice, ip=\[::ffff:127\.0\.0\.1\]`)
	}
	require.Regexp(t, `"logger":"layer4\.starttls\.access".*127\.0\.0\.9`, e.Log())
	imap := upgraded(t, e.caddyServer, "imap", "127.0.0.1:"+e.ports["143"], mailHost)
	imap.send(`a LOGIN alice "open sesame"`)
	imap.expect(`^a OK LOGIN Ok\.`)
	pop3 := upgraded(t, e.caddyServer, "pop3", "127.0.0.1:"+e.ports["110"], mailHost)
	pop3.send("USER " + mailUser)
	pop3.send("PASS " + mailPassword)
	pop3.expect(`^\+OK logged in\.`)
	var clients []*dialogue
	for range 8 {
		clients = append(clients, upgraded(t, e.caddyServer, "pop3", "127.0.0.1:"+e.ports["110"], mailHost))
	}
	for _, client := range clients {
		client.send("CAPA")
		require.NotContains(t, client.expect(`^\.\r?$`), "STLS")
	}
}
