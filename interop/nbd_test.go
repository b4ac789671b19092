package interop

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// nbdHost is the name that NBD clients verify.
const nbdHost = "nbd.example.com"

// nbdSize is the size of a disk, in octets.
const nbdSize = 8 << 20

// nbdDisk writes a file of random octets.
func nbdDisk(t testing.TB) (file string, content []byte) {
	t.Helper()
	content = make([]byte, nbdSize)
	_, err := rand.Read(content)
	require.NoError(t, err)
	return writeFile(t, serverDir(t), "disk", string(content)), content
}

// startNBDServer runs nbd-server, which has no TLS here, with one export. It becomes a daemon: otherwise
// it serves one client alone.
func startNBDServer(t testing.TB, disk string) (addr string) {
	t.Helper()
	need(t, "nbd-server")
	addr = freeAddr(t)
	dir := serverDir(t)
	pidFile := filepath.Join(dir, "pid")
	config := writeFile(t, dir, "nbd.conf", fmt.Sprintf(
		"[generic]\nlistenaddr = 127.0.0.1\nport = %s\nallowlist = true\n[disk]\nexportname = %s\nflush = true\n", port(t, addr), disk))
	out, err := run(t, startTimeout, "", "nbd-server", "-C", config, "-p", pidFile)
	require.NoError(t, err, out)
	waitTCP(t, addr)
	text, err := os.ReadFile(pidFile)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, syscall.Kill(pid, syscall.SIGTERM))
		eventually(t, startTimeout, "the end of nbd-server", func() bool { return syscall.Kill(pid, 0) != nil })
	})
	return addr
}

// startQEMU runs qemu-nbd, which demands TLS if it has a certificate. It serves any number of clients.
func startQEMU(t testing.TB, disk string, options ...string) (addr string) {
	t.Helper()
	need(t, "qemu-nbd")
	addr = freeAddr(t)
	args := append([]string{"--persistent", "--shared=0", "--bind=127.0.0.1", "--port=" + port(t, addr), "--format=raw", "--export-name=disk"}, options...)
	startProcess(t, "qemu-nbd", append(args, disk)...)
	waitTCP(t, addr)
	return addr
}

// qemuTLS are the options with which qemu-nbd demands TLS.
func qemuTLS(t testing.TB, ca *authority) []string {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	dir := t.TempDir()
	for name, from := range map[string]string{"ca-cert.pem": ca.file, "server-cert.pem": cert, "server-key.pem": key} {
		content, err := os.ReadFile(from)
		require.NoError(t, err)
		writeFile(t, dir, name, string(content))
	}
	return []string{"--object", "tls-creds-x509,id=tls,endpoint=server,verify-peer=no,dir=" + dir, "--tls-creds", "tls"}
}

// nbdTrust is a folder with the authority that clients trust.
func nbdTrust(t testing.TB, root string) (dir string) {
	t.Helper()
	content, err := os.ReadFile(root)
	require.NoError(t, err)
	dir = t.TempDir()
	writeFile(t, dir, "ca-cert.pem", string(content))
	return dir
}

// nbdURI is that of the export, with TLS for a client that has a folder with an authority. libnbd verifies
// the name of the host that it connects to.
func nbdURI(t testing.TB, addr, trust string) string {
	t.Helper()
	if trust == "" {
		return "nbd://" + addr + "/disk"
	}
	return "nbds://localhost:" + port(t, addr) + "/disk?tls-certificates=" + trust
}

// requireNBDCopies has nbdcopy read the whole disk.
func requireNBDCopies(t testing.TB, uri string, want []byte) {
	t.Helper()
	need(t, "nbdcopy")
	to := filepath.Join(t.TempDir(), "copy")
	out, err := run(t, clientTimeout, "", "nbdcopy", uri, to)
	require.NoError(t, err, out)
	got, err := os.ReadFile(to)
	require.NoError(t, err)
	require.Equal(t, sha256.Sum256(want), sha256.Sum256(got))
}

// requireNBDWrites has nbdcopy write a disk, which is read again.
func requireNBDWrites(t testing.TB, uri string) {
	t.Helper()
	from, content := nbdDisk(t)
	out, err := run(t, clientTimeout, "", "nbdcopy", "--flush", from, uri)
	require.NoError(t, err, out)
	requireNBDCopies(t, uri, content)
}

// requireQEMUWrites has qemu-io write something and read it again, without TLS.
func requireQEMUWrites(t testing.TB, addr, disk string) {
	t.Helper()
	out, err := run(t, clientTimeout, "", "qemu-io", "-f", "raw",
		"-c", "write -P 0xa5 4096 65536", "-c", "read -P 0xa5 4096 65536", "-c", "flush", nbdURI(t, addr, ""))
	require.NoError(t, err, out)
	require.NotContains(t, out, "failed")
	written, err := os.ReadFile(disk)
	require.NoError(t, err)
	require.Equal(t, bytes.Repeat([]byte{0xa5}, 65536), written[4096:4096+65536])
}

// Clients upgrade, verify the certificate, and read and write a disk behind either server.
func TestNBDClients(t *testing.T) {
	t.Parallel()
	need(t, "nbdcopy", "nbdinfo", "nbd-server", "qemu-nbd")
	for name, start := range map[string]func(disk string) string{
		"nbd-server": func(disk string) string { return startNBDServer(t, disk) },
		"qemu-nbd":   func(disk string) string { return startQEMU(t, disk) },
	} {
		t.Run(name, func(t *testing.T) {
			disk, content := nbdDisk(t)
			f := startFront(t, "nbd", []string{nbdHost, "localhost"}, start(disk))
			trust := nbdTrust(t, f.Root())
			requireNBDCopies(t, nbdURI(t, f.addr, trust), content)
			requireNBDWrites(t, nbdURI(t, f.addr, trust))
			out, err := run(t, clientTimeout, "", "nbdinfo", nbdURI(t, f.addr, trust))
			require.NoError(t, err, out)
			require.Regexp(t, `newstyle-fixed with TLS`, out)
			out, err = run(t, clientTimeout, "", "nbdinfo", "--list", nbdURI(t, f.addr, trust))
			require.NoError(t, err, out)
			require.Contains(t, out, `export="disk"`)
		})
	}
}

// Without TLS there is no disk, under another authority or name neither, and no backend hears of it.
func TestNBDRefusesPlaintext(t *testing.T) {
	t.Parallel()
	need(t, "nbdinfo")
	backend, connections := countingBackend(t)
	f := startFront(t, "nbd", []string{nbdHost, "localhost"}, backend)
	out, err := run(t, clientTimeout, "", "nbdinfo", nbdURI(t, f.addr, ""))
	require.Error(t, err, out)
	require.Contains(t, out, "Operation not supported")
	out, err = run(t, clientTimeout, "", "nbdinfo", nbdURI(t, f.addr, nbdTrust(t, newAuthority(t).file)))
	require.Error(t, err, out)
	require.Contains(t, out, "certificate")
	require.Zero(t, connections(), "a client without TLS reached the backend")
}

// Under policy optional a client without TLS has its disk.
func TestNBDOptional(t *testing.T) {
	t.Parallel()
	disk, content := nbdDisk(t)
	f := startFront(t, "nbd", []string{nbdHost, "localhost"}, startNBDServer(t, disk), "policy optional")
	requireNBDCopies(t, nbdURI(t, f.addr, ""), content)
	requireNBDCopies(t, nbdURI(t, f.addr, nbdTrust(t, f.Root())), content)
}

// A client without TLS reaches a server that demands it, and one with TLS does so over two connections.
func TestNBDUpstream(t *testing.T) {
	t.Parallel()
	need(t, "nbdinfo", "qemu-img", "qemu-io")
	ca := newAuthority(t)
	disk, _ := nbdDisk(t)
	backend := startQEMU(t, disk, qemuTLS(t, ca)...)
	out, err := run(t, clientTimeout, "", "nbdinfo", nbdURI(t, backend, ""))
	require.Error(t, err, out)
	plain, plainContent := nbdDisk(t)
	withoutTLS := startNBDServer(t, plain)
	r := startRoutes(t, []string{nbdHost, "localhost"}, map[string]string{
		"upstream": upgradeUpstream("nbd", backend, upHost, ca),
		"both":     "starttls nbd " + nbdHost + " localhost\n" + upgradeUpstream("nbd", backend, upHost, ca),
		"other":    upgradeUpstream("nbd", backend, upHost, newAuthority(t)),
		"none":     upgradeUpstream("nbd", withoutTLS, upHost, ca),
		"optional": upgradeUpstream("nbd", withoutTLS, upHost, ca, "policy optional"),
	})
	out, err = run(t, clientTimeout, "", "qemu-img", "compare", "-f", "raw", "-F", "raw", disk, nbdURI(t, r.addr["upstream"], ""))
	require.NoError(t, err, out)
	require.Contains(t, out, "Images are identical.")
	requireQEMUWrites(t, r.addr["upstream"], disk)
	requireNBDWrites(t, nbdURI(t, r.addr["both"], nbdTrust(t, r.Root())))
	requireNBDCopies(t, nbdURI(t, r.addr["optional"], ""), plainContent)
	for way, words := range map[string]string{"other": "Upstream certificate could not be verified", "none": "Upstream does not offer TLS"} {
		out, err := run(t, clientTimeout, "", "qemu-img", "info", nbdURI(t, r.addr[way], ""))
		require.Error(t, err, out)
		require.Contains(t, out, words, way)
	}
}

// The probe verifies a server's certificate, and tells one that has no TLS.
func TestNBDProbe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	disk, _ := nbdDisk(t)
	status, r := probeJSON(t, "nbd", startQEMU(t, disk, qemuTLS(t, ca)...), "--ca", ca.file, "--server-name", upHost)
	require.Zero(t, status, "%+v", r)
	require.Equal(t, "verified", r.Outcome)
	for _, backend := range []string{startNBDServer(t, disk), startQEMU(t, disk)} {
		status, r = probeJSON(t, "nbd", backend)
		require.NotZero(t, status, "%+v", r)
		require.Equal(t, "not offered", r.Outcome)
	}
}

// A certificate for another name than the one asked for is not accepted, though its authority is trusted.
func TestNBDVerifiesName(t *testing.T) {
	t.Parallel()
	need(t, "nbdinfo")
	backend, connections := countingBackend(t)
	f := startFront(t, "nbd", []string{nbdHost}, backend)
	out, err := run(t, clientTimeout, "", "nbdinfo", nbdURI(t, f.addr, nbdTrust(t, f.Root())))
	require.Error(t, err, out)
	require.Contains(t, out, "Error in the certificate verification")
	require.Zero(t, connections(), "a client that refuses the certificate reached the backend")
}

// Where the backend is down the connection ends, and clients say so in their own words.
func TestNBDBackendDown(t *testing.T) {
	t.Parallel()
	need(t, "nbdinfo", "qemu-img", "nbd-client")
	f := startFront(t, "nbd", []string{nbdHost, "localhost"}, freeAddr(t), "policy optional")
	for _, c := range []struct {
		words   string
		command []string
	}{
		{"server disconnected unexpectedly", []string{"nbdinfo", nbdURI(t, f.addr, nbdTrust(t, f.Root()))}},
		{"server disconnected unexpectedly", []string{"nbdinfo", nbdURI(t, f.addr, "")}},
		{"Unexpected end-of-file", []string{"qemu-img", "info", nbdURI(t, f.addr, "")}},
		{"Not enough magic from server", []string{"nbd-client", "-l", "127.0.0.1", port(t, f.addr)}},
	} {
		out, err := run(t, clientTimeout, "", c.command[0], c.command[1:]...)
		require.Error(t, err, out)
		require.Contains(t, out, c.words, c.command[0])
	}
}
