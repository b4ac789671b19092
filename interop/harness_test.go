package interop

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startTimeout bounds every wait for a server to come up. It is generous: a
// loaded machine with two cores may take its time.
const startTimeout = 30 * time.Second

// stopTimeout is how long a server may take to end after SIGTERM.
const stopTimeout = 10 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	if caddyBuild.dir != "" {
		os.RemoveAll(caddyBuild.dir)
	}
	os.Exit(code)
}

// need skips the test, visibly, when a program is missing. With INTEROP=required,
// as in CI, it fails instead: a skipped test must not look like a passed one.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if program(name) == "" {
			unavailable(t, "%s is not installed", name)
		}
	}
}

// needRoot is need for servers that give up privileges and so must have them.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "not running as root")
	}
}

func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("INTEROP") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// program finds an executable, also where servers live that are no user's
// commands. It returns "" if there is none.
func program(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/lib/postfix/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return ""
}

// taken remembers the ports handed out in this run: a port is free again for the
// kernel as soon as freeAddr has looked at it.
var taken struct {
	sync.Mutex
	ports map[int]bool
}

// freeAddr returns an address on 127.0.0.1 that is free at the moment and that no
// other call returns. The ports are from below the ephemeral range, so that no
// outgoing connection takes one before its server listens.
func freeAddr(t testing.TB) string {
	t.Helper()
	taken.Lock()
	defer taken.Unlock()
	if taken.ports == nil {
		taken.ports = make(map[int]bool)
	}
	for range 1000 {
		port := 20000 + rand.IntN(12000)
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		if taken.ports[port] || !bindable(addr) {
			continue
		}
		taken.ports[port] = true
		return addr
	}
	t.Fatal("no free port on 127.0.0.1")
	return ""
}

// freeAddrOn is freeAddr for another loopback address.
func freeAddrOn(t testing.TB, ip string) string {
	t.Helper()
	return net.JoinHostPort(ip, port(t, freeAddr(t)))
}

func bindable(addr string) bool {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	ln.Close()
	return true
}

// port returns the port of an address, for configurations that want it alone.
func port(t testing.TB, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return p
}

// serverDir returns a temporary directory that servers running as other users can
// enter, which those of t.TempDir are not. Its path is short enough for sockets.
func serverDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "l4starttls")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// writeFile writes a configuration file, which everyone may read, and returns its
// path. The file looks old: Postfix waits with one that may still be being written.
func writeFile(t testing.TB, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	return path
}

// eventually waits for a condition that no event announces.
func eventually(t testing.TB, timeout time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		if ok() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("waited %v for %s", timeout, what)
}

// waitTCP waits until an address accepts connections.
func waitTCP(t testing.TB, addr string) {
	t.Helper()
	eventually(t, startTimeout, addr+" to accept", func() bool { return accepts(addr) })
}

func accepts(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// run executes a program to its end and returns what it printed, on both outputs,
// with its exit error. It is killed, with its children, when the time is over.
func run(t testing.TB, timeout time.Duration, stdin string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s ran into its time limit of %v: %w", name, timeout, ctx.Err())
	}
	return string(out), err
}

// process is a server program that a test started.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// startProcess starts a server program in a process group of its own. What it
// prints goes to a file, shown if the test fails. At cleanup it and its group end.
func startProcess(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return startCmd(t, exec.Command(program(name), args...))
}

// startCmd is startProcess for a command with its own directory, environment or
// input, and with its own outputs if they are set.
func startCmd(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	if cmd.Stdout == nil {
		cmd.Stdout, cmd.Stderr = log, log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	p := &process{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { p.stop(t) })
	return p
}

// Log returns what the process has printed so far.
func (p *process) Log() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// exited tells whether the process itself has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stop asks the process to end, makes it end if it does not, and requires that
// nothing of its group is left. Stopping twice is harmless.
func (p *process) stop(t testing.TB) {
	t.Helper()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		t.Errorf("%s ignored SIGTERM for %v", p.cmd.Path, stopTimeout)
	}
	p.killGroup(t)
	if t.Failed() {
		t.Logf("%s printed:\n%s", p.cmd.Path, p.Log())
	}
}

// killGroup ends the children that outlived the process, and waits for that.
func (p *process) killGroup(t testing.TB) {
	t.Helper()
	group := -p.cmd.Process.Pid
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); {
		if err := syscall.Kill(group, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			<-p.done
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("children of %s are still there", p.cmd.Path)
}

// caddyBuild is the Caddy under test, built at most once in a run.
var caddyBuild struct {
	once sync.Once
	dir  string
	path string
	err  error
}

// caddyBinary returns a Caddy with this plugin: that of CADDY_BIN, or ./cmd/caddy.
func caddyBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("CADDY_BIN"); path != "" {
		return path
	}
	caddyBuild.once.Do(buildCaddy)
	require.NoError(t, caddyBuild.err)
	return caddyBuild.path
}

func buildCaddy() {
	caddyBuild.dir, caddyBuild.err = os.MkdirTemp("", "l4starttls-caddy")
	if caddyBuild.err != nil {
		return
	}
	caddyBuild.path = filepath.Join(caddyBuild.dir, "caddy")
	cmd := exec.Command("go", "build", "-o", caddyBuild.path, "./cmd/caddy")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		caddyBuild.err = fmt.Errorf("building caddy: %w\n%s", err, out)
	}
}

// caddyServer is a running Caddy, with a storage and a local CA of its own.
type caddyServer struct {
	*process
	storage string
}

// startCaddy runs Caddy with the given contents of the layer4 block. It returns
// when the addresses accept connections and the hosts have their certificates,
// which are from Caddy's local CA.
func startCaddy(t testing.TB, layer4 string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	return startCaddyWith(t, "", layer4, hosts, addrs...)
}

// startCaddyWith is startCaddy with further global options.
func startCaddyWith(t testing.TB, global, layer4 string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	return startCaddyfile(t, func(storage string) string { return caddyfile(storage, global, layer4) }, hosts, addrs...)
}

// startCaddyfile is startCaddy with a whole Caddyfile, which has to name the storage.
func startCaddyfile(t testing.TB, config func(storage string) string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	dir := t.TempDir()
	c := &caddyServer{storage: filepath.Join(dir, "storage")}
	file := writeFile(t, dir, "Caddyfile", config(c.storage))
	cmd := exec.Command(caddyBinary(t), "run", "--adapter", "caddyfile", "--config", file)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	c.process = startCmd(t, cmd)
	eventually(t, startTimeout, "Caddy and its certificates", func() bool {
		require.False(t, c.exited(), "Caddy ended: %s", c.Log())
		return c.ready(hosts, addrs)
	})
	return c
}

func caddyfile(storage, global, layer4 string) string {
	return fmt.Sprintf(`{
	%s
	%s
	layer4 {
		%s
	}
}
`, testOptions(storage), global, layer4)
}

// testOptions keep a Caddy to itself.
func testOptions(storage string) string {
	return fmt.Sprintf(`
	admin off
	local_certs
	skip_install_trust
	debug
	storage file_system %q`, storage)
}

// ready looks for certificates in the log, not in the storage: a handshake before
// they are in the cache fails.
func (c *caddyServer) ready(hosts, addrs []string) bool {
	log := c.Log()
	for _, host := range hosts {
		if !strings.Contains(log, `"data":{"sans":["`+host+`"]}}`) {
			return false
		}
	}
	for _, addr := range addrs {
		if !accepts(addr) {
			return false
		}
	}
	return true
}

// Root returns the path of the local CA's root certificate, in PEM.
func (c *caddyServer) Root() string {
	return filepath.Join(c.storage, "pki", "authorities", "local", "root.crt")
}

// requireVerified upgrades with openssl s_client, which knows its protocols from
// nobody of ours, and requires a certificate for host that Caddy's CA vouches for.
func requireVerified(t testing.TB, c *caddyServer, proto, addr, host string) {
	t.Helper()
	out, err := run(t, 20*time.Second, "", "openssl", "s_client", "-brief",
		"-starttls", proto, "-connect", addr, "-servername", host,
		"-verify_hostname", host, "-verify_return_error", "-CAfile", c.Root())
	require.NoError(t, err, out)
	require.Contains(t, out, "Verification: OK")
	require.Contains(t, out, "Verified peername: "+host)
}
