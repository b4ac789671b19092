package interop

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// postfixDaemons is where Debian keeps the programs that master starts.
const postfixDaemons = "/usr/lib/postfix/sbin"

// startPostfix runs a Postfix that takes mail from authenticated clients, whom it
// has Dovecot check, and delivers it to that Dovecot over LMTP. The extra lines go
// to the end of main.cf and so override what is there. It returns the address.
func startPostfix(t testing.TB, d *dovecot, extra string) string {
	t.Helper()
	addr, _ := startPostfixWith(t, d, extra, "")
	return addr
}

// showOnFailure shows the log of a server that insists on writing one itself.
func showOnFailure(t testing.TB, log string) {
	t.Cleanup(func() {
		if text, _ := os.ReadFile(log); t.Failed() {
			t.Logf("%s:\n%s", log, text)
		}
	})
}

// postfixQueue makes the directories that `postfix start` would, which we do not
// run because it detaches.
func postfixQueue(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "spool", "pid"), 0o755))
	mailDir(t, filepath.Join(dir, "data"))
	for _, name := range []string{
		"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold",
		"incoming", "maildrop", "private", "public", "saved", "trace",
	} {
		mailDir(t, filepath.Join(dir, "spool", name))
	}
}

// mailDir makes a directory for Postfix's own user.
func mailDir(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, os.Mkdir(dir, 0o700))
	owner, err := user.Lookup("postfix")
	require.NoError(t, err)
	uid, err := strconv.Atoi(owner.Uid)
	require.NoError(t, err)
	require.NoError(t, os.Chown(dir, uid, -1))
}

func mainCF(dir string, d *dovecot, extra string) string {
	return lastOfEach(fmt.Sprintf(`
compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
daemon_directory = %[2]s
maillog_file = %[1]s/log
maillog_file_prefixes = %[1]s
myhostname = backend.example.com
mydestination =
mynetworks =
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = example.com
virtual_transport = lmtp:inet:%[3]s
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:%[4]s
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_tls_security_level = none
message_size_limit = 60000000
virtual_mailbox_limit = 0
%[5]s
`, dir, postfixDaemons, d.lmtp, d.sasl, extra))
}

func masterCF(addr string) string {
	return addr + ` inet n - n - - smtpd
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
lmtp      unix - - n - - lmtp
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`
}
