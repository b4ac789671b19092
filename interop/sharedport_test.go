package interop

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// sharedPort tells by the first bytes what a client wants: one of the upgrades, TLS
// at once, SSH, or HTTP. The arguments are the address and the backends.
const sharedPort = `%[1]s {
	@pg starttls postgres
	route @pg {
		starttls postgres ` + pgHost + `
		proxy %[2]s
	}
	@ldap starttls ldap
	route @ldap {
		starttls ldap ` + ldapHost + `
		proxy %[3]s
	}
	@xmpp starttls xmpp
	route @xmpp {
		starttls xmpp ` + xmppHost + `
		proxy %[4]s
	}
	@tls tls
	route @tls {
		tls
		proxy %[5]s
	}
	@ssh ssh
	route @ssh {
		proxy %[6]s
	}
	@http http
	route @http {
		proxy %[5]s
	}
}`

// TestSharedPort has one address for everything, with the real clients of each
// protocol, which differ in how they cut their first message into packets.
func TestSharedPort(t *testing.T) {
	t.Parallel()
	need(t, "curl", "python3")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "from the web server\n")
	}))
	t.Cleanup(web.Close)
	ssh := startReplier(t, func(string) string { return "SSH-2.0-backend" })
	f := &front{addr: freeAddr(t)}
	f.caddyServer = startCaddy(t, fmt.Sprintf(sharedPort, f.addr, startPostgres(t).addr, startSlapd(t),
		startProsody(t, prosodyPlain), web.Listener.Addr(), ssh), []string{pgHost, ldapHost, xmppHost}, f.addr)

	t.Run("postgres", func(t *testing.T) {
		out, err := psql(t, f.verified(t), "SELECT current_user")
		require.NoError(t, err, out)
		require.Equal(t, "alice\n", out)
	})
	t.Run("ldap", func(t *testing.T) {
		out, err := f.ldap(t, "ldapwhoami", "-ZZ")
		require.NoError(t, err, out)
		require.Equal(t, "dn:"+ldapUser+"\n", out)
	})
	t.Run("xmpp", func(t *testing.T) { f.requireXMPPSession(t) })
	t.Run("https", func(t *testing.T) {
		where := pgHost + ":" + port(t, f.addr)
		out, err := run(t, clientTimeout, "", "curl", "-sS", "--http1.1", "--noproxy", "*", "--cacert", f.Root(),
			"--resolve", where+":127.0.0.1", "https://"+where+"/")
		require.NoError(t, err, out)
		require.Equal(t, "from the web server\n", out)
	})
	t.Run("http", func(t *testing.T) {
		out, err := run(t, clientTimeout, "", "curl", "-sS", "--noproxy", "*", "http://"+f.addr+"/")
		require.NoError(t, err, out)
		require.Equal(t, "from the web server\n", out)
	})
	t.Run("ssh", func(t *testing.T) {
		conn := dialPlain(t, f.addr)
		conn.send("SSH-2.0-client")
		conn.expect("SSH-2.0-backend")
	})
	t.Run("nobody's", func(t *testing.T) {
		require.Empty(t, plainReply(t, f.addr, strings.Repeat("\xff", 64)))
	})
}
