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

// upgradingSite is a web server of Caddy's in plaintext, whose clients upgrade.
const upgradingSite = `{
	%[1]s
	auto_https disable_redirects
	servers 127.0.0.1:%[2]s {
		listener_wrappers {
			layer4 {
				route {
					starttls http ` + siteHost + `
				}
			}
		}
	}
}
http://` + siteHost + `:%[2]s {
	bind 127.0.0.1
	respond "from the site: {http.request.uri}"
}
`

// upgradingClient is one of Python's own making: it asks as RFC 2817 says, and verifies.
const upgradingClient = `
import socket, ssl, sys
host, port, ca = sys.argv[1:]
s = socket.create_connection(("127.0.0.1", int(port)))
s.sendall(b"OPTIONS * HTTP/1.1\r\nHost: " + host.encode() + b"\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n")
head = b""
while not head.endswith(b"\r\n\r\n"):
    head += s.recv(1)
assert head.startswith(b"HTTP/1.1 101 "), head
t = ssl.create_default_context(cafile=ca).wrap_socket(s, server_hostname=host)
f = t.makefile("rb")
assert f.readline() == b"HTTP/1.1 200 OK\r\n"
while f.readline() != b"\r\n":
    pass
for path in ("/one", "/two"):
    t.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    print(f.readline().decode().strip())
    length = 0
    while (line := f.readline()) != b"\r\n":
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    print(f.read(length).decode())
`

// TestListenerWrapperUpgradesHTTP has clients upgrade on the port of Caddy's own web site.
// Others are told to.
func TestListenerWrapperUpgradesHTTP(t *testing.T) {
	t.Parallel()
	need(t, "curl", "python3")
	addr := freeAddr(t)
	c := startCaddyfile(t, func(storage string) string {
		return fmt.Sprintf(upgradingSite, testOptions(storage), port(t, addr))
	}, []string{siteHost}, addr)
	out, err := run(t, clientTimeout, "", "python3", "-c", upgradingClient, siteHost, port(t, addr), c.Root())
	require.NoError(t, err, out)
	require.Equal(t, "HTTP/1.1 200 OK\nfrom the site: /one\nHTTP/1.1 200 OK\nfrom the site: /two\n", out)
	out, err = run(t, clientTimeout, "", "curl", "-sSi", "--noproxy", "*", "-H", "Host: "+siteHost, "http://"+addr+"/")
	require.NoError(t, err, out)
	require.Regexp(t, `(?s)^HTTP/1\.1 426 Upgrade Required\r\n.*Upgrade: TLS/1\.0, HTTP/1\.1\r\n`, out)
}
