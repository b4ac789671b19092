// Package pingpong holds the test of the two programs below it.
package pingpong

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	name    = "pingpong.example"
	clear   = "PONG in plaintext"
	overTLS = "PONG over TLS 1.3"
)

// programs are the server and the client, and a certificate.
type programs struct{ server, client, cert, key string }

var built programs

// TestMain builds the programs, once.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pingpong")
	if err == nil {
		built = programs{server: filepath.Join(dir, "server"), client: filepath.Join(dir, "client")}
		cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator), "./server", "./client")
		cmd.Stderr = os.Stderr
		err = cmd.Run()
	}
	if err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// setUp returns the programs with a fresh certificate.
func setUp(t *testing.T) programs {
	p := built
	p.cert, p.key = writeCertificate(t, t.TempDir())
	return p
}

func writeCertificate(t *testing.T, dir string) (certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return certFile, keyFile
}

// start runs a program until the end of the test, and returns its first line.
func start(t *testing.T, output func(*exec.Cmd) (io.ReadCloser, error), command string, args ...string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := exec.CommandContext(ctx, command, args...)
	out, err := output(cmd)
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(out)
	t.Cleanup(func() {
		cancel()
		_, _ = io.Copy(io.Discard, lines)
		_ = cmd.Wait()
	})
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(line)
}

// startServer runs our server on a free port, and returns its address.
func startServer(t *testing.T, p programs) string {
	line := start(t, (*exec.Cmd).StderrPipe, p.server, "-listen", "127.0.0.1:0", "-cert", p.cert, "-key", p.key)
	return line[strings.LastIndex(line, " ")+1:]
}

func runClient(p programs, addr, name, pause string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.client, "-connect", addr, "-ca", p.cert, "-name", name, "-pause", pause)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// needPython skips a test where there is no Python that can start TLS on a stream,
// unless all peers are required.
func needPython(t *testing.T) {
	err := exec.Command("python3", "-c", "import sys; sys.exit(sys.version_info < (3, 11))").Run()
	if err == nil {
		return
	}
	if os.Getenv("INTEROP") == "required" {
		t.Fatalf("no python3 of version 3.11: %v", err)
	}
	t.Skipf("no python3 of version 3.11: %v", err)
}

func TestClientTalksToServer(t *testing.T) {
	p := setUp(t)
	addr := startServer(t, p)
	for _, pause := range []string{"0s", "100ms"} {
		out, err := runClient(p, addr, name, pause)
		require.NoError(t, err, out)
		require.Equal(t, clear+"\n"+overTLS, out)
	}
}

func TestClientEndsAtTheWrongCertificate(t *testing.T) {
	p := setUp(t)
	out, err := runClient(p, startServer(t, p), "other.example", "0s")
	require.Error(t, err)
	require.Contains(t, out, "certificate is valid for "+name+", not other.example")
	require.NotContains(t, out, "PONG over")
}

func TestServerTalksToPython(t *testing.T) {
	needPython(t)
	p := setUp(t)
	_, port, err := net.SplitHostPort(startServer(t, p))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "python3", "testdata/client.py", port, p.cert, name).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "PONG False\nPONG True\n", string(out))
}

func TestClientTalksToPython(t *testing.T) {
	needPython(t)
	p := setUp(t)
	port := start(t, (*exec.Cmd).StdoutPipe, "python3", "testdata/server.py", p.cert, p.key)
	out, err := runClient(p, net.JoinHostPort("127.0.0.1", port), name, "1s")
	require.NoError(t, err, out)
	require.Equal(t, clear+"\n"+overTLS, out)
}
