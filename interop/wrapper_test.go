package interop

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// siteHost is a web site of Caddy's own.
const siteHost = "www.example.com"

// wrappedPort is a web server whose listener looks for upgrades first. The arguments
// are the storage, the port and the backends.
const wrappedPort = `{
	admin off
	local_certs
	skip_install_trust
	auto_https disable_redirects
	default_bind 127.0.0.1
	debug
	storage file_system %[1]q
	servers 127.0.0.1:%[2]s {
		protocols h1 h2
		listener_wrappers {
			layer4 {
				@pg starttls postgres
				route @pg {
					starttls postgres ` + pgHost + `
					proxy %[3]s
				}
				@ldap starttls ldap
				route @ldap {
					starttls ldap ` + ldapHost + `
					proxy %[4]s
				}
			}
			tls
		}
	}
}
https://` + siteHost + `:%[2]s {
	respond "from the site, over {http.request.proto}"
}
`

// TestListenerWrapper has PostgreSQL and LDAP on the port of Caddy's own web site.
func TestListenerWrapper(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	addr := freeAddr(t)
	db, directory := startPostgres(t).addr, startSlapd(t)
	c := startCaddyfile(t, func(storage string) string {
		return fmt.Sprintf(wrappedPort, storage, port(t, addr), db, directory)
	}, []string{siteHost, pgHost, ldapHost}, addr)

	for version, proto := range map[string]string{"--http1.1": "HTTP/1.1", "--http2": "HTTP/2.0"} {
		t.Run("https "+version, func(t *testing.T) {
			where := siteHost + ":" + port(t, addr)
			out, err := run(t, clientTimeout, "", "curl", "-sS", version, "--noproxy", "*", "--cacert", c.Root(),
				"--resolve", where+":127.0.0.1", "https://"+where+"/")
			require.NoError(t, err, out)
			require.Equal(t, "from the site, over "+proto, out)
		})
	}
	t.Run("postgres", func(t *testing.T) {
		f := &front{caddyServer: c, proto: "postgres", host: pgHost, addr: addr}
		out, err := psql(t, f.verified(t), "SELECT current_user")
		require.NoError(t, err, out)
		require.Equal(t, "alice\n", out)
	})
	t.Run("ldap", func(t *testing.T) {
		f := &front{caddyServer: c, proto: "ldap", host: ldapHost, addr: addr}
		out, err := f.ldap(t, "ldapwhoami", "-ZZ")
		require.NoError(t, err, out)
		require.Equal(t, "dn:"+ldapUser+"\n", out)
	})
}
