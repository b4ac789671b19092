package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The one mail user, known to Dovecot and through it to Postfix.
const (
	mailUser     = "alice"
	mailPassword = "open sesame"
	mailAddress  = "alice@example.com"
)

// mailUID owns the mailboxes: Dovecot refuses to be root for a user.
const mailUID = 65534

// dovecot is a running Dovecot and where it listens.
type dovecot struct {
	*process
	imap, pop3, lmtp, sieve string
	sasl                    string // the auth service, for Postfix
	home                    string // the users' mailboxes
}

// tlsOff makes passwords work in plaintext and hides every upgrade: what a backend
// behind the plugin should look like.
const tlsOff = "ssl = no"

// tlsOn returns settings for a backend that would do the upgrade itself, which
// the plugin has to hide from clients that are on TLS already.
func tlsOn(t testing.TB) string {
	cert, key := selfSigned(t, "backend.example.com")
	return fmt.Sprintf("ssl = yes\nssl_cert = <%s\nssl_key = <%s", cert, key)
}

// startDovecot runs IMAP, POP3, LMTP and ManageSieve for one user.
func startDovecot(t testing.TB, tls string) *dovecot {
	t.Helper()
	return startDovecotWith(t, tls, "")
}

// startDovecotWith is startDovecot with settings that go to the end of the file and
// so override what is there.
func startDovecotWith(t testing.TB, tls, extra string) *dovecot {
	t.Helper()
	return startDovecotOn(t, "127.0.0.1", tls, extra)
}

// startDovecotOn is startDovecotWith on an address of its own. To Dovecot, a client
// with the server's address is one on TLS.
func startDovecotOn(t testing.TB, ip, tls, extra string) *dovecot {
	t.Helper()
	need(t, "dovecot")
	needRoot(t)
	dir := serverDir(t)
	d := &dovecot{
		imap: freeAddrOn(t, ip), pop3: freeAddrOn(t, ip), lmtp: freeAddrOn(t, ip),
		sieve: freeAddrOn(t, ip), sasl: freeAddrOn(t, ip),
	}
	d.home = filepath.Join(dir, "home")
	require.NoError(t, os.Mkdir(d.home, 0o700))
	require.NoError(t, os.Chown(d.home, mailUID, mailUID))
	writeFile(t, dir, "users", mailUser+":{PLAIN}"+mailPassword+"\n")
	config := writeFile(t, dir, "dovecot.conf", d.config(t, dir, ip, tls)+extra)
	d.process = startProcess(t, "dovecot", "-F", "-c", config)
	for _, addr := range []string{d.imap, d.pop3, d.lmtp, d.sieve, d.sasl} {
		waitTCP(t, addr)
	}
	return d
}

func (d *dovecot) config(t testing.TB, dir, ip, tls string) string {
	return fmt.Sprintf(dovecotConf, dir, tls, mailUID,
		port(t, d.imap), port(t, d.pop3), port(t, d.lmtp), port(t, d.sieve), port(t, d.sasl), ip)
}

const dovecotConf = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
listen = %[9]s
protocols = imap pop3 lmtp sieve
%[2]s
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_username_format = %%Ln
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = static
  args = uid=%[3]d gid=%[3]d home=%[1]s/home/%%n
}
mail_location = maildir:~/Maildir
postmaster_address = postmaster@example.com
protocol lmtp {
  mail_plugins = sieve
}
plugin {
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
service imap-login {
  inet_listener imap {
    port = %[4]s
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[5]s
  }
  inet_listener pop3s {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    port = %[6]s
  }
}
service managesieve-login {
  inet_listener sieve {
    port = %[7]s
  }
}
service auth {
  inet_listener {
    port = %[8]s
  }
}
`
