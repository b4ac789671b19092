package interop

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	vncHost     = "vnc.example.com"
	vncUser     = "alice"
	vncPassword = "wonder"
	pamWrapper  = "/usr/lib/x86_64-linux-gnu/libpam_wrapper.so"
	pamMatrix   = "/usr/lib/x86_64-linux-gnu/pam_wrapper/pam_matrix.so"
)

// startX runs an X server that finds a free display by itself. It has no TCP port but that of VNC, if any.
func startX(t testing.TB, env []string, name string, options ...string) (display string) {
	t.Helper()
	need(t, name)
	cmd := exec.Command(program(name), append([]string{"-displayfd", "1", "-nolisten", "tcp"}, options...)...)
	cmd.Env = append(os.Environ(), env...)
	p := startCmd(t, cmd)
	number := regexp.MustCompile(`(?m)^\d+$`)
	eventually(t, startTimeout, "a display of "+name, func() bool {
		require.False(t, p.Exited(), "%s ended: %s", name, p.Log())
		display = number.FindString(p.Log())
		return display != ""
	})
	return ":" + display
}

// startXvnc runs TigerVNC's server with a security type. It may be asked for vncPassword, and with Plain also
// for vncUser, by a PAM of its own.
func startXvnc(t testing.TB, security string, options ...string) (addr string) {
	t.Helper()
	need(t, "vncpasswd")
	dir := t.TempDir()
	obfuscated, err := run(t, clientTimeout, vncPassword+"\n", "vncpasswd", "-f")
	require.NoError(t, err)
	passwd := writeFile(t, dir, "passwd", obfuscated)
	users := writeFile(t, dir, "users", vncUser+":"+vncPassword+":vnc\n")
	var rules strings.Builder
	for _, kind := range []string{"auth", "account"} {
		rules.WriteString(kind + " required " + pamMatrix + " passdb=" + users + "\n")
	}
	writeFile(t, dir, "vnc", rules.String())
	var env []string
	if strings.Contains(security, "Plain") {
		if _, err := os.Stat(pamWrapper); err != nil {
			unavailable(t, "%v", err)
		}
		env = []string{"LD_PRELOAD=" + pamWrapper, "PAM_WRAPPER=1", "PAM_WRAPPER_SERVICE_DIR=" + dir}
	}
	addr = freeAddr(t)
	startX(t, env, "Xtigervnc", append([]string{
		"-rfbport", port(t, addr), "-interface", "127.0.0.1", "-geometry", "64x48", "-depth", "24", "-UseBlacklist=0",
		"-SecurityTypes", security, "-PasswordFile", passwd, "-PlainUsers", vncUser, "-PAMService", "vnc",
	}, options...)...)
	waitTCP(t, addr)
	return addr
}

// xvncTLS are the options with which Xvnc has a certificate.
func xvncTLS(t testing.TB, ca *authority) []string {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	return []string{"-X509Cert", cert, "-X509Key", key}
}

// A vncViewer runs TigerVNC's client on a display of its own.
type vncViewer struct{ display string }

func newVNCViewer(t testing.TB) vncViewer {
	t.Helper()
	need(t, "xtigervncviewer")
	return vncViewer{startX(t, nil, "Xvfb", "-screen", "0", "320x240x24")}
}

// command connects to localhost, trusts an authority, and takes nothing but a security type.
func (v vncViewer) command(t testing.TB, addr, root, security, password string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program("xtigervncviewer"), "-ReconnectOnError=0", "-AlertOnFatalError=0", "-Log", "*:stderr:100",
		"-X509CA", root, "-SecurityTypes", security, "localhost::"+port(t, addr))
	cmd.Env = append(os.Environ(), "DISPLAY="+v.display, "HOME="+t.TempDir(), "VNC_USERNAME="+vncUser, "VNC_PASSWORD="+password)
	return cmd
}

// requireSays has a client say something in its log while it runs.
func (v vncViewer) requireSays(t testing.TB, addr, root, security, words string) {
	t.Helper()
	p := startCmd(t, v.command(t, addr, root, security, vncPassword))
	eventually(t, clientTimeout, "the viewer's "+words, func() bool {
		found := strings.Contains(p.Log(), words)
		require.True(t, found || !p.Exited(), "the viewer ended: %s", p.Log())
		return found
	})
}

// requireShows has a client show the screen of a server.
func (v vncViewer) requireShows(t testing.TB, addr, root, security string) {
	t.Helper()
	v.requireSays(t, addr, root, security, "Enabling continuous updates")
}

// requireEnds has a client end with an error.
func (v vncViewer) requireEnds(t testing.TB, addr, root, security, password, words string) {
	t.Helper()
	p := startCmd(t, v.command(t, addr, root, security, password))
	eventually(t, clientTimeout, "the viewer's end", p.Exited)
	log := strings.Join(strings.Fields(p.Log()), " ") // which has line breaks in it
	require.Contains(t, log, words)
	require.NotContains(t, log, "initialisation done")
}

// Clients upgrade, verify the certificate, log in to the server behind as it wants them to, and see its screen.
func TestVNCClients(t *testing.T) {
	t.Parallel()
	v := newVNCViewer(t)
	for security, x509 := range map[string]string{"VncAuth": "X509Vnc", "None": "X509None", "Plain": "X509Plain"} {
		t.Run(x509, func(t *testing.T) {
			f := startFront(t, "vnc", []string{"localhost"}, startXvnc(t, security), "security_types "+x509)
			v.requireShows(t, f.addr, f.Root(), x509)
			if security != "None" {
				v.requireEnds(t, f.addr, f.Root(), x509, "no", "Authentication failure: ")
			}
			status, r := probeJSON(t, "vnc", f.addr, "--ca", f.Root(), "--server-name", "localhost")
			require.Zero(t, status, "%+v", r)
			require.Equal(t, "verified", r.Outcome)
		})
	}
}

// Under another authority or name, without TLS or without a certificate there is no session. Where there is no
// server of the configured security, or none at all, the client is told so.
func TestVNCRefusals(t *testing.T) {
	t.Parallel()
	v := newVNCViewer(t)
	backend, connections := countingBackend(t)
	r := startRoutes(t, []string{"localhost"}, map[string]string{
		"required": "starttls vnc localhost\nproxy " + backend,
		"none":     "starttls vnc localhost\nproxy " + startXvnc(t, "None"),
		"down":     "starttls vnc localhost\nproxy " + freeAddr(t),
	})
	v.requireEnds(t, r.addr["required"], r.Root(), "VncAuth,None", vncPassword, "No matching security types")
	v.requireEnds(t, r.addr["required"], r.Root(), "TLSVnc,TLSNone", vncPassword, "No valid VeNCrypt sub-type")
	require.Zero(t, connections(), "a client without TLS reached the backend")
	named := startFront(t, "vnc", []string{vncHost}, backend)
	v.requireSays(t, named.addr, named.Root(), "X509Vnc", "hostname mismatch")
	for _, way := range []string{"none", "down"} {
		v.requireEnds(t, r.addr[way], r.Root(), "X509Vnc", vncPassword, "Authentication failure: Backend not available")
	}
}

// Under policy optional a client without TLS sees the screen.
func TestVNCOptional(t *testing.T) {
	t.Parallel()
	v := newVNCViewer(t)
	f := startFront(t, "vnc", []string{"localhost"}, startXvnc(t, "VncAuth"), "policy optional", "allow_plaintext_auth")
	v.requireShows(t, f.addr, f.Root(), "VncAuth")
	v.requireShows(t, f.addr, f.Root(), "X509Vnc")
}

// A client without TLS sees the screen of a server that demands it, and one with TLS does so over two connections.
func TestVNCUpstream(t *testing.T) {
	t.Parallel()
	v := newVNCViewer(t)
	ca := newAuthority(t)
	withTLS := startXvnc(t, "X509Vnc,TLSVnc", xvncTLS(t, ca)...)
	withoutTLS := startXvnc(t, "VncAuth")
	r := startRoutes(t, []string{"localhost"}, map[string]string{
		"upstream": upgradeUpstream("vnc", withTLS, upHost, ca),
		"plain":    upgradeUpstream("vnc", startXvnc(t, "X509Plain", xvncTLS(t, ca)...), upHost, ca),
		"both":     "starttls vnc localhost\n" + upgradeUpstream("vnc", withTLS, upHost, ca),
		"optional": upgradeUpstream("vnc", withoutTLS, upHost, ca, "policy optional"),
		"other":    upgradeUpstream("vnc", withTLS, upHost, newAuthority(t)),
		"none":     upgradeUpstream("vnc", withoutTLS, upHost, ca),
	})
	for way, security := range map[string]string{"upstream": "VncAuth", "plain": "Plain", "both": "X509Vnc", "optional": "VncAuth"} {
		v.requireShows(t, r.addr[way], r.Root(), security)
	}
	for way, words := range map[string]string{"other": "Upstream certificate could not be verified", "none": "Upstream does not offer TLS"} {
		v.requireEnds(t, r.addr[way], r.Root(), "VncAuth", vncPassword, words)
	}
	v.requireEnds(t, r.addr["upstream"], r.Root(), "VncAuth", "no", "Authentication failure: ")
	status, report := probeJSON(t, "vnc", withTLS, "--ca", ca.file, "--server-name", upHost)
	require.Zero(t, status, "%+v", report)
	require.Equal(t, "verified", report.Outcome)
	_, report = probeJSON(t, "vnc", withoutTLS)
	require.Equal(t, "not offered", report.Outcome)
}
