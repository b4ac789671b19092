package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Clients in plaintext use servers that demand TLS, on data connections as well, which vsftpd
// and ProFTPD want to resume the session of the control connection.
func TestFTPUpstream(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	inEachFTPServer(t, ca, func(t *testing.T, s *ftpServer) {
		requireDemandsTLS(t, s)
		r := startRoutes(t, []string{ftpHost, "localhost"}, map[string]string{
			"plain": upgradeUpstream("ftp", s.addr, upHost, ca),
			"other": upgradeUpstream("ftp", s.addr, upHost, newAuthority(t)),
			"both":  "starttls ftp " + ftpHost + " localhost\n" + upgradeUpstream("ftp", s.addr, upHost, ca),
		})
		dir := t.TempDir()
		file := randomFile(t, dir, "file", 5<<20)
		for name, root := range map[string]string{"plain": "", "both": r.Root()} {
			t.Run(name, func(t *testing.T) {
				for kind, args := range map[string][]string{"EPSV": nil, "PASV": {"--disable-epsv"}} {
					got := filepath.Join(dir, name+kind)
					out, err := curlFTP(t, s, root, r.addr[name], name, append(args, "--upload-file", file)...)
					require.NoError(t, err, out)
					requireSame(t, file, filepath.Join(s.files, name))
					out, err = curlFTP(t, s, root, r.addr[name], name, append(args, "--output", got)...)
					require.NoError(t, err, out)
					requireSame(t, file, got)
				}
				got := filepath.Join(dir, name+"lftp")
				out, err := lftp(t, s, root, r.addr[name], fmt.Sprintf("ls; get %s -o '%s'", name, got))
				require.NoError(t, err, out)
				requireSame(t, file, got)
			})
		}
		require.Equal(t, "421 Upstream certificate could not be verified\r\n", lastLine(plainReply(t, r.addr["other"], "NOOP\r\n")))
	})
}

// requireDemandsTLS shows that the server would not do without.
func requireDemandsTLS(t *testing.T, s *ftpServer) {
	t.Helper()
	reply := plainReply(t, s.addr, "USER "+s.user+"\r\nPASS "+s.password+"\r\nQUIT\r\n")
	require.NotRegexp(t, `(?m)^230`, reply)
}

// Without TLS there is no login, and clients that insist on active mode or on data in
// plaintext are refused.
func TestFTPRefusals(t *testing.T) {
	t.Parallel()
	inEachFTPServer(t, nil, func(t *testing.T, s *ftpServer) {
		f := startFTPFront(t, s)
		out, err := curlFTP(t, s, "", f.addr, "")
		require.ErrorContains(t, err, "exit status 67", out) // denied
		out, err = curlFTP(t, s, f.Root(), f.addr, "", "--ftp-port", "-")
		require.ErrorContains(t, err, "exit status 30", out) // PORT failed
		out, err = curlFTP(t, s, "", f.addr, "", "--ftp-ssl-control", "--cacert", f.Root())
		require.Error(t, err, out)
		reply := plainReply(t, f.addr, "USER a\r\nPASS b\r\nEPSV\r\nQUIT\r\n")
		require.Regexp(t, `^220 .*\r\n530 .*\r\n530 .*\r\n530 .*\r\n221 .*\r\n$`, reply)
	})
}

// What is behind AUTH TLS in plaintext reaches nobody.
func TestFTPInjection(t *testing.T) {
	t.Parallel()
	f := startFTPFront(t, startProFTPD(t, "127.0.0.1", nil))
	reply := plainReply(t, f.addr, "AUTH TLS\r\nUSER injected\r\n")
	require.Regexp(t, `^220 .*\r\n421 Nothing may follow AUTH TLS\r\n$`, reply)
}

// Nobody may stay in plaintext where clients may, and nobody else; data connections are as the
// client wants them.
func TestFTPOptional(t *testing.T) {
	t.Parallel()
	s := startVsftpd(t, "127.0.0.1", nil)
	f := startFTPFront(t, s, "policy optional")
	file := randomFile(t, s.files, "file", 1<<20)
	got := filepath.Join(t.TempDir(), "got")
	out, err := curlFTP(t, s, "", f.addr, "file", "--output", got)
	require.NoError(t, err, out)
	requireSame(t, file, got)
	out, err = curlFTP(t, s, "", f.addr, "file", "--ftp-ssl-control", "--cacert", f.Root(), "--output", got+"2")
	require.NoError(t, err, out)
	requireSame(t, file, got+"2")
	other := *s
	other.user = "alice"
	out, err = curlFTP(t, &other, "", f.addr, "file")
	require.ErrorContains(t, err, "exit status 67", out)
}

// A client that is past the greeting is told of a backend that is down.
func TestFTPBackendDown(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	f := startFront(t, "ftp", []string{ftpHost}, freeAddr(t))
	c := upgraded(t, f.caddyServer, "ftp", f.addr, ftpHost)
	c.expect(`^421 .*\n`)
	require.Empty(t, strings.TrimSpace(c.end()))
}

// The ports of data connections are those of the configuration, with the address that it names.
func TestFTPDataOptions(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	s := startPureFTPd(t, "127.0.0.1", nil)
	wanted := port(t, freeAddr(t))
	f := startFTPFront(t, s, "data_ports "+wanted+"-"+wanted, "data_address 192.0.2.1")
	c := upgraded(t, f.caddyServer, "ftp", f.addr, ftpHost)
	for _, command := range []string{"USER " + s.user, "PASS " + s.password, "PBSZ 0", "PROT P"} {
		c.send(command)
		c.expect(`^[23]\d\d .*\n`)
	}
	c.send("EPSV")
	c.expect(`^229 .*\(\|\|\|` + wanted + `\|\)\r?\n`)
	c.send("PASV")
	c.expect(`^227 .*\(192,0,2,1,\d+,\d+\)\r?\n`)
	c.send("QUIT")
	c.expect(`^221`)
}

// The probe upgrades to each server, and knows those that have no TLS.
func TestFTPProbe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	inEachFTPServer(t, ca, func(t *testing.T, s *ftpServer) {
		status, report := probeJSON(t, "ftp", s.addr, "--server-name", upHost, "--ca", ca.file)
		require.Zero(t, status)
		require.Equal(t, "verified", report.Outcome)
		require.True(t, report.Verification.Verified)
	})
	inEachFTPServer(t, nil, func(t *testing.T, s *ftpServer) {
		_, report := probeJSON(t, "ftp", s.addr, "--server-name", upHost)
		require.Equal(t, "not offered", report.Outcome)
	})
}
