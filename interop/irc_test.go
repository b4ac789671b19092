package interop

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireIRCUpgrades has openssl upgrade and verify, with SNI and without. It is the only
// one of the universal clients that knows IRC.
func (f *front) requireIRCUpgrades(t *testing.T) {
	t.Helper()
	for _, sni := range [][]string{{"-servername", f.host}, {"-noservername"}} {
		out, err := f.sClient(t, "", append(sni, "-brief")...)
		require.NoError(t, err, out)
		require.Contains(t, out, "Verified peername: "+f.host)
	}
	f.requireALPN(t, "irc")
	f.requireResumption(t, "QUIT\r\n")
}

func TestIRCClients(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	inspircd, _ := startInspIRCd(t, ca, ircPlain)
	for name, backend := range map[string]string{"ngircd": startNgircd(t, ca).plain, "InspIRCd with an upgrade of its own": inspircd} {
		t.Run(name, func(t *testing.T) {
			f := startFront(t, "irc", []string{ircHost, "localhost"}, backend)
			f.requireIRCUpgrades(t)
			raw := irssi(t, f.addr, f.Root())
			require.Regexp(t, `(?s)<< CAP LS 302.*CAP \* LS :tls.*<< STARTTLS.* 670 .*Now talking encrypted.*<< NICK irssi.* 001 irssi `, raw)
			require.Regexp(t, `(?s) 366 irssi #test .*<< PRIVMSG #test :hello`, raw)
			require.Equal(t, 1, strings.Count(raw, "STARTTLS\n"), raw)
		})
	}
}

// A backend that would upgrade, and takes a gateway's word, does neither.
func TestIRCBackend(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	backend, log := startInspIRCd(t, newAuthority(t), ircPlain)
	f := startFront(t, "irc", []string{ircHost}, backend)
	c := upgraded(t, f.caddyServer, "irc", f.addr, ircHost)
	c.send("CAP LS 302")
	require.NotRegexp(t, `\btls\b`, c.expect(`^:inspircd\.example\.com CAP \* LS :.*account-notify.*\n`))
	for _, command := range []string{"STARTTLS", ":a STARTTLS", "starttls x", "  STARTTLS"} {
		c.send(command)
		c.expect(`^:irc\.example\.com 691 \* :STARTTLS failed \(TLS is active already\)\r?\n`)
	}
	for _, command := range []string{"START\rTLS", "\x00STARTTLS", "@a=b STARTTLS", "WEBIRC gateway gw example.net 192.0.2.5", strings.Repeat("x", 520) + "STARTTLS"} {
		c.send(command)
		c.expect(`^:irc\.example\.com 4(17|21) .*\n`)
	}
	c.send("NICK joe\nUSER joe 0 * :Joe\nCAP END")
	c.expect(`^:inspircd\.example\.com 376 joe .*\n`)
	c.send("STARTTLS")
	c.expect(`^:inspircd\.example\.com 691 joe .*\n`) // InspIRCd's own: the filter has left
	c.send("WHOIS joe")
	require.NotContains(t, c.expect(`^:\S+ 318 .*\n`), "192.0.2.5")
	c.send("QUIT")
	c.expect(`^ERROR :.*\n`)
	require.Empty(t, strings.TrimSpace(c.end()))
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NotContains(t, string(text), "192.0.2.5")
}

// Without Caddy in front InspIRCd takes all of these.
func TestIRCBackendWouldUpgrade(t *testing.T) {
	t.Parallel()
	backend, _ := startInspIRCd(t, newAuthority(t), ircPlain)
	r := startRoutes(t, nil, map[string]string{"irc": "proxy " + backend})
	for _, command := range []string{"START\rTLS\r\n", "\x00STARTTLS\r\n", "@a=b STARTTLS\r\n", ":a STARTTLS\r\n"} {
		c := &matrixClient{t: t, Conn: r.dial(t, "irc", "plain", backend)}
		_, err := c.Write([]byte(command))
		require.NoError(t, err)
		c.expect(`:inspircd\.example\.com 670 \* :.*\r\n`)
	}
	c := &matrixClient{t: t, Conn: r.dial(t, "irc", "plain", backend)}
	_, err := c.Write([]byte("WEBIRC gateway gw example.net 192.0.2.5\r\nNICK joe\r\nUSER joe 0 * :Joe\r\n"))
	require.NoError(t, err)
	c.expect(`:\S+ 001 joe :Welcome .*!joe@192\.0\.2\.5\r\n(:.*\r\n)*`)
}

// A client that registers in plaintext is told what to do, and its password goes nowhere.
func TestIRCRefusesPlaintext(t *testing.T) {
	t.Parallel()
	backend, connections := countingBackend(t)
	f := startFront(t, "irc", []string{ircHost}, backend)
	reply := plainReply(t, f.addr, "CAP LS 302\r\nPASS secret\r\nNICK joe\r\nUSER joe 0 * :Joe\r\n")
	require.Equal(t, ":irc.example.com CAP * LS :tls\r\n:irc.example.com 464 * :Passwords need TLS, use STARTTLS\r\n"+
		"ERROR :Closing Link: TLS required, use STARTTLS\r\n", reply)
	reply = plainReply(t, f.addr, "STARTTLS\r\nNICK injected\r\n")
	require.NotContains(t, reply, " 670 ")
	require.Zero(t, connections(), "a client without TLS reached the backend")
}

// WeeChat knows no upgrade. Under policy optional it is served in plaintext, and so it
// reaches a server that demands TLS.
func TestIRCWithoutUpgrade(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	demanding, _ := startInspIRCd(t, ca, ircNeedsTLS)
	r := startRoutes(t, []string{ircHost}, map[string]string{
		"optional": "starttls irc " + ircHost + " {\npolicy optional\n}\nproxy " + startNgircd(t, ca).plain,
		"upstream": upgradeUpstream("irc", demanding, upHost, ca),
		"other":    upgradeUpstream("irc", demanding, upHost, newAuthority(t)),
	})
	for _, way := range []string{"optional", "upstream"} {
		log := weechat(t, r.addr[way])
		require.NotContains(t, log, "Unknown command", way)
	}
	require.Equal(t, "ERROR :Closing Link: Upstream certificate could not be verified\r\n", plainReply(t, r.addr["other"], "PING x\r\n"))
}

// What a server says before the upgrade reaches the client, once.
func TestIRCNotices(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	backend, _ := startInspIRCd(t, ca, ircLooksUp)
	r := startRoutes(t, nil, map[string]string{"irc": upgradeUpstream("irc", backend, upHost, ca)})
	c := &matrixClient{t: t, Conn: r.dial(t, "irc", "plain", r.addr["irc"])}
	c.expect(`:inspircd\.example\.com NOTICE \* :\*\*\* Looking up your hostname\.\.\.\r\n(:.*\r\n)*`)
	_, err := c.Write([]byte("STARTTLS\r\nNICK joe\r\nUSER joe 0 * :Joe\r\nQUIT\r\n"))
	require.NoError(t, err)
	rest := readRest(t, c.Conn)
	require.Contains(t, rest, " 691 ") // InspIRCd's own
	require.NotContains(t, rest, "Looking up")
}

// A backend that is down is heard of by a client that is inside TLS.
func TestIRCBackendDown(t *testing.T) {
	t.Parallel()
	f := startFront(t, "irc", []string{ircHost}, freeAddr(t))
	out, err := f.sClient(t, "PING x\r\n", "-quiet")
	require.NoError(t, err, out)
	require.Contains(t, out, "ERROR :Closing Link: Backend not available\r\n")
}

// The probe verifies a server's certificate, and tells one that does not know the command
// from one that is silent.
func TestIRCProbe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	backend, _ := startInspIRCd(t, ca, ircLooksUp)
	status, r := probeJSON(t, "irc", backend, "--ca", ca.file, "--server-name", upHost)
	require.Zero(t, status, "%+v", r)
	require.Equal(t, "verified", r.Outcome)
	require.Equal(t, "unknown", r.PlaintextLogin)
	require.Equal(t, "STARTTLS", strings.TrimSpace(r.Dialogue[0].Text))
	status, r = probeJSON(t, "irc", startNgircd(t, ca).plain, "--timeout", "3s")
	require.Equal(t, 6, status, "%+v", r)
}
