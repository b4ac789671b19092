package library

import (
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// startIMAP runs a server with an upgrade of its own.
func startIMAP(t testing.TB) (addr string) {
	t.Helper()
	account := imapmemserver.NewUser(user, password)
	require.NoError(t, account.Create("INBOX", nil))
	memory := imapmemserver.New()
	memory.AddUser(account)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return memory.NewSession(), nil, nil
		},
		TLSConfig: newPKI(t).server,
	})
	ln := listen(t)
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	return ln.Addr().String()
}

func TestDialIMAP(t *testing.T) { requireIMAP(t, startIMAP(t)) }

func TestDialIMAPToDovecot(t *testing.T) { requireIMAP(t, startDovecot(t)) }

// requireIMAP stores a message and reads it back.
func requireIMAP(t *testing.T, addr string) {
	client, err := DialIMAP(within(t, 20*time.Second), addr, newPKI(t).client, nil)
	require.NoError(t, err)
	defer client.Close()
	caps := client.Caps()
	require.True(t, caps.Has(imap.CapIMAP4rev1), caps)
	require.False(t, caps.Has(imap.CapStartTLS), "the capabilities are those inside TLS")
	require.False(t, caps.Has(imap.CapLoginDisabled), "the capabilities are those inside TLS")
	require.NoError(t, client.Login(user, password).Wait())

	text := "Subject: Hello\r\n\r\nIt came over TLS.\r\n"
	appending := client.Append("INBOX", int64(len(text)), nil)
	_, err = appending.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, appending.Close())
	_, err = appending.Wait()
	require.NoError(t, err)

	box, err := client.Select("INBOX", nil).Wait()
	require.NoError(t, err)
	require.EqualValues(t, 1, box.NumMessages)
	whole := &imap.FetchItemBodySection{}
	found, err := client.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{whole}}).Collect()
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, text, string(found[0].FindBodySection(whole)))
	require.NoError(t, client.Logout().Wait())
}

func TestDialIMAPVerifies(t *testing.T) {
	config := *newPKI(t).client
	config.TLS = config.TLS.Clone()
	config.TLS.ServerName = "other.example.com"
	_, err := DialIMAP(within(t, 20*time.Second), startIMAP(t), &config, nil)
	require.ErrorContains(t, err, "certificate is valid for "+host+", not other.example.com")
}

// A session that ends without close_notify was cut off, and the client can tell.
func TestIMAPTruncated(t *testing.T) {
	ln := listen(t)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		defer raw.Close() // and not conn, which would say that this is the end
		conn, err := upgrade.Accept(t.Context(), raw, upgrade.IMAP, &upgrade.Config{TLS: newPKI(t).server})
		if err == nil {
			conn.ReadLine()
		}
	}()
	client, err := DialIMAP(within(t, 20*time.Second), ln.Addr().String(), newPKI(t).client, &imapclient.Options{})
	require.NoError(t, err)
	select {
	case <-client.Closed():
	case <-time.After(20 * time.Second):
		require.FailNow(t, "the end was not noticed")
	}
	require.ErrorContains(t, client.Close(), upgrade.ErrTruncated.Error())
}

// startDovecot runs a Dovecot that takes passwords inside TLS only.
func startDovecot(t testing.TB) (addr string) {
	t.Helper()
	dovecot := program(t, "dovecot")
	if os.Geteuid() != 0 {
		unavailable(t, "not running as root")
	}
	p, dir := newPKI(t), testkit.ServerDir(t)
	home := dir + "/home"
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Chown(home, nobody, nobody))
	writeFile(t, dir, "cert.pem", string(p.cert), 0o644)
	writeFile(t, dir, "key.pem", string(p.key), 0o600)
	writeFile(t, dir, "users", user+":{PLAIN}"+password+"\n", 0o644)
	addr, port := freePort(t)
	start(t, addr, dovecot, "-F", "-c", writeFile(t, dir, "dovecot.conf", fmt.Sprintf(dovecotConf, dir, nobody, port), 0o644))
	return addr
}

// nobody owns the mail: Dovecot refuses to be root for a user.
const nobody = 65534

const dovecotConf = `
base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
listen = 127.0.0.1
protocols = imap
ssl = required
ssl_cert = <%[1]s/cert.pem
ssl_key = <%[1]s/key.pem
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = static
  args = uid=%[2]d gid=%[2]d home=%[1]s/home/%%n
}
mail_location = maildir:~/Maildir
service imap-login {
  inet_listener imap {
    port = %[3]s
  }
  inet_listener imaps {
    port = 0
  }
}
`

func listenAndDial(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln := listen(t)
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	return client, server
}
