package library

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// host is the name in every server's certificate. It is not "localhost", to which
// smtp.PlainAuth would send a password in clear.
const host = "server.example.com"

const user, password = "alice", "open sesame"

// A pki is one certificate, its key, and a client's view of it.
type pki struct {
	cert, key []byte // PEM
	server    *tls.Config
	client    *upgrade.Config
}

var testPKI = sync.OnceValues(func() (pki, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pki{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return pki{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return pki{}, err
	}
	p := pki{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}),
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.cert)
	p.client = &upgrade.Config{TLS: &tls.Config{RootCAs: roots, ServerName: host}, Hostname: "client.example.com"}
	chain, err := tls.X509KeyPair(p.cert, p.key)
	p.server = &tls.Config{Certificates: []tls.Certificate{chain}}
	return p, err
})

func newPKI(t testing.TB) pki {
	t.Helper()
	p, err := testPKI()
	require.NoError(t, err)
	return p
}

// within bounds what a test waits for.
func within(t testing.TB, timeout time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	return ctx
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { ln.Close() })
	return ln
}

// freePort is for servers that do not tell the port that they have got.
func freePort(t testing.TB) (addr, port string) {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	addr = ln.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return addr, port
}

// unavailable skips a test, visibly, that needs what is not there. With
// INTEROP=required that is a failure.
func unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("INTEROP") == "required" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// program finds a server, also where Debian keeps it out of the path.
func program(t testing.TB, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, pattern := range []string{"/usr/sbin/", "/usr/lib/postgresql/*/bin/"} {
		if found, _ := filepath.Glob(pattern + name); len(found) > 0 {
			return found[len(found)-1]
		}
	}
	unavailable(t, "%s is not installed", name)
	return ""
}

// serverDir returns a directory that a server can enter as any user.
func serverDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "l4starttls")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

func writeFile(t testing.TB, dir, name, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), mode))
	return path
}

// start runs a server until the end of the test, and waits until it accepts.
func start(t testing.TB, addr, name string, args ...string) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		stop(t, cmd, done)
		if text, _ := os.ReadFile(log.Name()); t.Failed() {
			t.Logf("%s printed:\n%s", name, text)
		}
	})
	for range 1500 { // 30 seconds
		select {
		case <-done:
			require.FailNow(t, name+" ended")
		case <-time.After(20 * time.Millisecond):
		}
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			conn.Close()
			return
		}
	}
	require.FailNow(t, name+" does not accept")
}

// stop ends a server and what it has started.
func stop(t testing.TB, cmd *exec.Cmd, done chan struct{}) {
	cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Errorf("%s ignored SIGTERM", cmd.Path)
	}
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	<-done
}
