package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rdpHost is the name that clients of RDP verify.
const rdpHost = "rdp.example.com"

// Settings of xrdp: plaintext, which is standard RDP security without encryption, and TLS, which it demands.
const (
	xrdpPlain = "security_layer=rdp\ncrypt_level=none"
	xrdpTLS   = "security_layer=tls\ncertificate=%s\nkey_file=%s"
)

// xrdpGround is the colour behind xrdp's login window: blue, green and red.
const xrdpGround = "\xc3\xb2\xa1"

// xrdpSettings are those of a greeter that nobody gets past, as nobody listens on port 1. A backend that goes by a session
// manager (port -1), and finds none, waits for 15 seconds for it, hears nothing meanwhile, and so keeps Caddy from stopping.
const xrdpSettings = `[Globals]
ini_version=1
fork=true
port=tcp://.:%s
%s
allow_channels=true
ls_top_window_bg_color=a1b2c3
[Logging]
LogFile=%s
LogLevel=DEBUG
EnableSyslog=false
[Channels]
rdpdr=true
rdpsnd=true
drdynvc=true
cliprdr=true
[Xvnc]
name=Xvnc
lib=libvnc.so
username=na
password=ask
ip=127.0.0.1
port=1
`

// startXrdp runs xrdp with settings for its security.
func startXrdp(t testing.TB, security string) (addr string) {
	t.Helper()
	need(t, "xrdp")
	needRoot(t) // xrdp reads the key of standard RDP security in any case
	addr = freeAddr(t)
	dir := serverDir(t)
	settings := fmt.Sprintf(xrdpSettings, port(t, addr), security, filepath.Join(dir, "log"))
	startProcess(t, "xrdp", "--nodaemon", "--config", writeFile(t, dir, "xrdp.ini", settings))
	waitTCP(t, addr)
	return addr
}

// startXrdpTLS runs an xrdp that demands TLS.
func startXrdpTLS(t testing.TB, ca *authority) (addr string) {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	return startXrdp(t, fmt.Sprintf(xrdpTLS, cert, key))
}

// startShadow runs FreeRDP's server, which demands Network Level Authentication, and shows a screen to the user alice,
// whose password is "password". Its certificate is of its own making.
func startShadow(t testing.TB) (addr string) {
	t.Helper()
	const program = "freerdp-shadow-cli"
	need(t, program)
	addr = freeAddr(t)
	home := t.TempDir()
	sam := writeFile(t, home, "sam", "alice:::8846f7eaee8fb117ad06bdd830b7586c:::\n")
	cmd := exec.Command(program, "/bind-address:127.0.0.1", "/port:"+port(t, addr), "/sec:nla", "/sam-file:"+sam)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "DISPLAY="+startScreen(t).display)
	startCmd(t, cmd)
	waitTCP(t, addr)
	return addr
}

// A screen is a display of X, whose picture is in a file.
type screen struct{ display, file string }

// startScreen runs an Xvfb. It has the number of a port that is free, so that no two of them meet, and does not begin anew, and
// refuse whoever comes meanwhile, when its last client leaves.
func startScreen(t testing.TB) *screen {
	t.Helper()
	need(t, "Xvfb")
	number, dir := port(t, freeAddr(t)), t.TempDir()
	file := filepath.Join(dir, "Xvfb_screen0")
	startProcess(t, "Xvfb", ":"+number, "-noreset", "-nolisten", "tcp", "-screen", "0", "800x600x24", "-fbdir", dir)
	eventually(t, startTimeout, "Xvfb", func() bool {
		conn, err := net.Dial("unix", "/tmp/.X11-unix/X"+number)
		if err != nil {
			return false
		}
		_, err = os.Stat(file) // which may come behind the socket
		return conn.Close() == nil && err == nil
	})
	return &screen{":" + number, file}
}

// awaitColour waits until a quarter of the screen, at least, has that colour.
func (s *screen) awaitColour(t testing.TB, colour string) {
	t.Helper()
	eventually(t, startTimeout, "the picture of xrdp's greeter", func() bool {
		picture, err := os.ReadFile(s.file)
		require.NoError(t, err)
		return strings.Count(string(picture), colour) > 800*600/4
	})
}
