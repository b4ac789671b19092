package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// ircHost is the name that IRC clients verify.
const ircHost = "irc.example.com"

// ngircd is a server without an upgrade of its own.
type ngircd struct{ plain, tls string }

const ngircdConf = `
[Global]
	Name = ngircd.example.com
	Info = Test
	AdminInfo1 = Test
	AdminEMail = admin@example.com
	Listen = 127.0.0.1
	Ports = %s
	MotdPhrase = hello
	ServerUID = irc
	ServerGID = irc
[Limits]
	MaxConnectionsIP = 0
[Options]
	DNS = no
	Ident = no
	PAM = no
[SSL]
	CertFile = %s
	KeyFile = %s
	Ports = %s
`

// startNgircd runs it with one port in plaintext and one in TLS.
func startNgircd(t testing.TB, ca *authority) ngircd {
	t.Helper()
	need(t, "ngircd")
	needRoot(t)
	n := ngircd{freeAddr(t), freeAddr(t)}
	cert, key := ca.issue(t, upHost)
	config := writeFile(t, serverDir(t), "ngircd.conf", fmt.Sprintf(ngircdConf, port(t, n.plain), cert, key, port(t, n.tls)))
	require.NoError(t, os.Chmod(key, 0o644)) // it is the user irc that reads it
	startProcess(t, "ngircd", "-n", "-f", config)
	waitTCP(t, n.plain)
	waitTCP(t, n.tls)
	return n
}

const inspircdConf = `<config format="xml">
<server name="inspircd.example.com" description="Test" network="Test">
<admin name="Test" nick="admin" email="admin@example.com">
<module name="cap"><module name="ircv3"><module name="ircv3_capnotify">
<module name="cgiirc"><cgihost type="webirc" password="gateway" mask="127.0.0.1">
<module name="ssl_gnutls"><module name="starttls"><starttls profile="own">
<sslprofile name="own" provider="gnutls" certfile="%[2]s" keyfile="%[3]s">
<bind address="127.0.0.1" port="%[4]s" type="clients">
<connect allow="*" timeout="60" threshold="1000" commandrate="100000" localmax="1000" globalmax="1000" usednsbl="no" %[5]s>
<dns server="127.0.0.1" timeout="1">
<class name="all" commands="*"><type name="all" classes="all">
<oper name="root" password="sesame" host="*@*" type="all">
<files motd="%[1]s/motd">
<pid file="%[1]s/pid">
<log method="file" type="*" level="debug" flush="1" target="%[1]s/log">
`

// Settings of InspIRCd: whether it says that it looks a name up, and whether it registers
// clients without TLS.
const (
	ircPlain    = `resolvehostnames="no"`
	ircLooksUp  = `resolvehostnames="yes"`
	ircNeedsTLS = `resolvehostnames="no" requiressl="yes"`
)

// startInspIRCd runs a server with a STARTTLS of its own, which takes a gateway's word for
// who a client is. It returns the path of its log, too.
func startInspIRCd(t testing.TB, ca *authority, settings string) (addr, log string) {
	t.Helper()
	need(t, "inspircd")
	needRoot(t)
	addr = freeAddr(t)
	cert, key := ca.issue(t, upHost)
	dir := serverDir(t)
	writeFile(t, dir, "motd", "hello\n")
	config := writeFile(t, dir, "inspircd.conf", fmt.Sprintf(inspircdConf, dir, cert, key, port(t, addr), settings))
	cmd := exec.Command(program("inspircd"), "--runasroot", "--nofork", "--config", config)
	cmd.Dir = dir // for its core, should it leave one
	startCmd(t, cmd)
	waitTCP(t, addr)
	return addr, filepath.Join(dir, "log")
}

// irssiConfig has irssi join a channel and say something there. It asks for the upgrade
// where a server announces it, and waits for the answer before it says who it is.
const irssiConfig = `
servers = ( { address = "localhost"; chatnet = "test"; port = "%[1]s"; autoconnect = "yes"; family = "inet";
	tls_verify = "yes"; tls_cafile = "%[2]s"; } );
chatnets = { test = { type = "IRC"; nick = "irssi"; autosendcmd = "/rawlog open %[3]s; /join #test; /msg #test hello; /quote PING done"; }; };
settings = { core = { real_name = "Test"; user_name = "test"; nick = "irssi"; }; };
`

// irssi runs it in front of a server, until it has an answer to its last question, and
// returns what has passed.
func irssi(t testing.TB, addr, ca string) string {
	t.Helper()
	need(t, "irssi", "script")
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	writeFile(t, dir, "config", fmt.Sprintf(irssiConfig, port(t, addr), ca, raw))
	startProcess(t, "script", "-qec", "env TERM=xterm irssi --home="+dir, filepath.Join(dir, "screen"))
	return awaitText(t, raw, " PONG .*done")
}

// weechat runs WeeChat without a screen and without TLS, until it has joined a channel, and
// returns what the server has said to it.
func weechat(t testing.TB, addr string) string {
	t.Helper()
	need(t, "weechat-headless")
	dir := t.TempDir()
	startProcess(t, "weechat-headless", "--dir", dir, "-r", "/set logger.file.flush_delay 0",
		"-r", "/server add test 127.0.0.1/"+port(t, addr)+" -notls -nicks=weechat",
		"-r", "/set irc.server.test.autojoin #test", "-r", "/connect test")
	awaitText(t, filepath.Join(dir, "logs", "irc.test.#test.weechatlog"), `Channel #test: 1 nick`)
	return awaitText(t, filepath.Join(dir, "logs", "irc.server.test.weechatlog"), "Welcome to the ")
}

// awaitText waits for a file in which a pattern matches.
func awaitText(t testing.TB, file, pattern string) (text string) {
	t.Helper()
	eventually(t, startTimeout, strconv.Quote(pattern)+" in "+filepath.Base(file), func() bool {
		content, err := os.ReadFile(file)
		text = string(content)
		return err == nil && matches(pattern, text)
	})
	return text
}

// ircSteps are a registration, and what begins a session.
var ircSteps = [][2]string{
	{"CAP LS 302\r\n", `:\S+ CAP \* LS :.*\r\n`},
	{"NICK joe\r\nUSER joe 0 * :Joe\r\nCAP END\r\n", `(:\S+ .*\r\n)*:\S+ 376 joe .*\r\n`},
	{"JOIN #matrix\r\n", `:joe!\S+ JOIN :?#matrix\r\n(:\S+ .*\r\n)*:\S+ 366 joe .*\r\n`},
	{"PING x\r\n", `:\S+ PONG \S+ :x\r\n`},
	{"QUIT\r\n", `(:\S+ .*\r\n)*ERROR :.*\r\n`},
}
