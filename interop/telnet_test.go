package interop

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// telnetHost is the name that clients of Telnet verify.
const telnetHost = "telnet.example.com"

// startTelnetd runs inetutils' server behind socat, which is its inetd, with a program that
// greets and prints what it reads in place of login.
func startTelnetd(t testing.TB) (addr string) {
	t.Helper()
	need(t, "telnetd")
	needRoot(t)
	return startSocat(t, program("telnetd")+" -h -E "+greeter(t))
}

// startSocat runs a program for each connection.
func startSocat(t testing.TB, command string) (addr string) {
	t.Helper()
	need(t, "socat")
	addr = freeAddr(t)
	startProcess(t, "socat", "TCP-LISTEN:"+port(t, addr)+",bind=127.0.0.1,reuseaddr,fork", "EXEC:"+command)
	waitTCP(t, addr)
	return addr
}

// greeter is the program. It waits for another line, since telnetd may end with it and lose what it has printed.
func greeter(t testing.TB) string {
	t.Helper()
	script := writeFile(t, serverDir(t), "shell", "#!/bin/sh\nprintf 'who are you? '\nread name\necho \"hello $name\"\nread bye\n")
	require.NoError(t, os.Chmod(script, 0o755))
	return script
}

// noOptions refuses all that telnetd asks for, and offers: it waits for an answer to each.
const noOptions = "\xff\xfe\x25\xff\xfe\x26\xff\xfc\x18\xff\xfc\x20\xff\xfc\x23\xff\xfc\x27\xff\xfc\x24\xff\xfd\x03\xff\xfc\x01\xff\xfc\x1f\xff\xfc\x22\xff\xfe\x05\xff\xfc\x21"

func TestTelnet(t *testing.T) {
	t.Parallel()
	f := startFront(t, "telnet", []string{telnetHost}, startTelnetd(t))
	for _, sni := range [][]string{{"-servername", f.host}, {"-noservername"}} {
		out, err := f.sClient(t, "", append(sni, "-brief")...)
		require.NoError(t, err, out)
		require.Contains(t, out, "Verified peername: "+f.host)
	}
	c := upgraded(t, f.caddyServer, "telnet", f.addr, telnetHost)
	for _, last := range []string{`\$`, `!`} { // ENVIRON, LFLOW: it asks for some, and then for others
		c.expect(last)
		c.write(noOptions)
	}
	c.expect(`who are you\? `)
	c.write("joe\r\n")
	c.expect(`hello joe`)
	reply := plainReply(t, f.addr, "\xff\xfc\x2e")
	require.Equal(t, "\xff\xfd\x2eTLS is required: use a client that knows START_TLS\r\n", reply)
	status, r := probeJSON(t, "telnet", f.addr, "--ca", f.Root(), "--server-name", telnetHost)
	require.Zero(t, status, "%+v", r)
}

// Caddy is the only server that asks for START_TLS: one in front of telnetd is the upstream of
// another, for a client in plaintext.
func TestTelnetUpstream(t *testing.T) {
	t.Parallel()
	need(t, "telnet")
	inner := startFront(t, "telnet", []string{telnetHost}, startTelnetd(t))
	r := startRoutes(t, nil, map[string]string{
		"telnet": "starttls_upstream telnet {\ntls_server_name " + telnetHost + "\ntls_trust_pool file " + inner.Root() + "\n}\nproxy " + inner.addr,
		"plain":  upgradeUpstream("telnet", startTelnetd(t), telnetHost, newAuthority(t), "negotiation_timeout 3s"),
	})
	c := startDialogue(t, "telnet", "127.0.0.1", port(t, r.addr["telnet"]))
	c.expect(`who are you\? `)
	c.send("joe")
	c.expect(`hello joe`)
	c = startDialogue(t, "telnet", "127.0.0.1", port(t, r.addr["plain"]))
	require.True(t, strings.Contains(c.end(), "Upstream timed out"))
}
