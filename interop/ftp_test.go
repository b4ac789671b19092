package interop

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ftpHost is the name that clients of FTP verify, beside localhost.
const ftpHost = "ftp.example.com"

// ftpTimeout is for transfers of what is not small.
const ftpTimeout = 5 * time.Minute

// inEachFTPServer does the same with each kind of server, without TLS or with one that demands
// it.
func inEachFTPServer(t *testing.T, ca *authority, do func(t *testing.T, s *ftpServer)) {
	for name, start := range ftpServers {
		t.Run(name, func(t *testing.T) { do(t, start(t, "127.0.0.1", ca)) })
	}
}

// startFTPFront runs Caddy in front of a server.
func startFTPFront(t testing.TB, s *ftpServer, options ...string) *front {
	t.Helper()
	return startFront(t, "ftp", []string{ftpHost, "localhost"}, s.addr, options...)
}

// randomFile makes a file of random octets.
func randomFile(t testing.TB, dir, name string, size int64) string {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	require.NoError(t, err)
	_, err = io.Copy(f, io.LimitReader(rand.NewChaCha8([32]byte{byte(size)}), size))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return path
}

// requireSame compares two files.
func requireSame(t testing.TB, want, got string) {
	t.Helper()
	var sums [2]string
	for i, path := range []string{want, got} {
		f, err := os.Open(path)
		require.NoError(t, err)
		sum := sha256.New()
		_, err = io.Copy(sum, f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		sums[i] = fmt.Sprintf("%x", sum.Sum(nil))
	}
	require.Equal(t, sums[0], sums[1], "%s and %s", want, got)
}

// curlFTP runs curl, which has to have TLS for everything unless the address is one in
// plaintext.
func curlFTP(t testing.TB, s *ftpServer, ca, addr, name string, args ...string) (string, error) {
	t.Helper()
	need(t, "curl")
	host := "localhost:" + port(t, addr)
	if ca != "" {
		args = append(args, "--ssl-reqd", "--cacert", ca)
	}
	args = append(args, "--silent", "--show-error", "--ipv4", "--user", s.user+":"+s.password, "ftp://"+host+"/"+s.path+name)
	return run(t, ftpTimeout, "", "curl", args...)
}

// lftp runs commands of lftp, which has to have TLS for everything unless there is no CA.
func lftp(t testing.TB, s *ftpServer, ca, addr, commands string) (string, error) {
	t.Helper()
	need(t, "lftp")
	secure := fmt.Sprintf("set ssl:ca-file %s; set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes; ", ca)
	if ca == "" {
		secure = "set ftp:ssl-allow no; "
	}
	settings := "set net:max-retries 1; set net:timeout 60; set dns:order inet; set cmd:fail-exit yes; set ftp:list-options -a; "
	return run(t, ftpTimeout, "", "env", "HOME="+t.TempDir(), "lftp", "-c",
		fmt.Sprintf("%s%sopen -u '%s,%s' -p %s localhost; cd '%s./'; %s", secure, settings, s.user, s.password, port(t, addr), s.path, commands))
}

func TestFTPClients(t *testing.T) {
	t.Parallel()
	inEachFTPServer(t, nil, func(t *testing.T, s *ftpServer) {
		f := startFTPFront(t, s)
		dir := t.TempDir()
		file := randomFile(t, dir, "file", 5<<20)
		for name, args := range map[string][]string{"EPSV": nil, "PASV": {"--disable-epsv"}, "TLS 1.2": {"--tls-max", "1.2"}} {
			t.Run("curl "+name, func(t *testing.T) {
				got := filepath.Join(dir, "curl "+name)
				out, err := curlFTP(t, s, f.Root(), f.addr, "curl", append(args, "--upload-file", file)...)
				require.NoError(t, err, out)
				requireSame(t, file, filepath.Join(s.files, "curl"))
				out, err = curlFTP(t, s, f.Root(), f.addr, "curl", append(args, "--output", got)...)
				require.NoError(t, err, out)
				requireSame(t, file, got)
				out, err = curlFTP(t, s, f.Root(), f.addr, "", append(args, "--list-only")...)
				require.NoError(t, err, out)
				require.Contains(t, out, "curl")
			})
		}
		t.Run("lftp", func(t *testing.T) {
			got := filepath.Join(dir, "lftp")
			out, err := lftp(t, s, f.Root(), f.addr, fmt.Sprintf("put -O . %s -o lftp; ls; get lftp -o '%s'; mkdir d; rmdir d; mv lftp l2; rm l2", file, got))
			require.NoError(t, err, out)
			require.Contains(t, out, "lftp")
			requireSame(t, file, got)
		})
		for _, how := range []string{"pasv", "epsv", "reuse"} {
			t.Run("ftplib "+how, func(t *testing.T) {
				out, err := run(t, ftpTimeout, "", "python3", "testdata/ftp.py", port(t, f.addr), f.Root(), s.user, s.password, "./"+s.path, file, how)
				require.NoError(t, err, out)
				want := "greeting: 220\nin plaintext: 521\nstored: 226\nretrieved: 226\nthe same: True\nretrieved: 226\nthe same: True\nlisted: True\n" +
					"ccc: 534\nactive: 502\nreused: %s\nquit: 221\n"
				reused := "[]"
				if how == "reuse" {
					reused = "True"
				}
				require.Equal(t, fmt.Sprintf(want, reused), out)
			})
		}
	})
}

// The universal test clients, on the control connection alone.
func TestFTPUpgrade(t *testing.T) {
	t.Parallel()
	f := startFTPFront(t, startProFTPD(t, "127.0.0.1", nil))
	f.requireUpgrades(t)
	f.requireALPN(t, "ftp")
	f.requireResumption(t, "SYST\r\nQUIT\r\n")
}

// ftpBig is a gigabyte; -short makes it 50 MB.
func ftpBig() int64 {
	if testing.Short() {
		return 50 << 20
	}
	return 1 << 30
}

// What is large arrives unchanged in both directions.
func TestFTPLargeFiles(t *testing.T) {
	s := startProFTPD(t, "127.0.0.1", nil)
	f := startFTPFront(t, s)
	dir := t.TempDir()
	file, stored, got := randomFile(t, dir, "large", ftpBig()), filepath.Join(s.files, "large"), filepath.Join(dir, "got")
	transfer := func(args ...string) {
		begun := time.Now()
		out, err := curlFTP(t, s, f.Root(), f.addr, "large", args...)
		require.NoError(t, err, out)
		t.Logf("%s: %d bytes in %v", args[0], ftpBig(), time.Since(begun))
	}
	transfer("--upload-file", file)
	requireSame(t, file, stored)
	require.NoError(t, os.Remove(file)) // three of them would be many
	transfer("--output", got)
	requireSame(t, stored, got)
}

// What was cut is resumed where it was cut, in both directions, and several transfers run at a
// time.
func TestFTPResumedAndParallel(t *testing.T) {
	t.Parallel()
	inEachFTPServer(t, nil, func(t *testing.T, s *ftpServer) {
		f := startFTPFront(t, s)
		dir := t.TempDir()
		const size = 8 << 20
		file := randomFile(t, dir, "file", size)
		whole, err := os.ReadFile(file)
		require.NoError(t, err)

		require.NoError(t, os.WriteFile(filepath.Join(s.files, "cut"), whole[:size/3], 0o666))
		require.NoError(t, os.Chmod(filepath.Join(s.files, "cut"), 0o666))
		out, err := curlFTP(t, s, f.Root(), f.addr, "cut", "--continue-at", "-", "--upload-file", file)
		require.NoError(t, err, out)
		requireSame(t, file, filepath.Join(s.files, "cut"))
		got := filepath.Join(dir, "got")
		require.NoError(t, os.WriteFile(got, whole[:size/3], 0o600))
		out, err = curlFTP(t, s, f.Root(), f.addr, "cut", "--continue-at", "-", "--output", got)
		require.NoError(t, err, out)
		requireSame(t, file, got)

		for i := range 6 {
			require.NoError(t, os.WriteFile(filepath.Join(s.files, fmt.Sprintf("p%d", i)), whole[i:], 0o644))
		}
		out, err = lftp(t, s, f.Root(), f.addr, fmt.Sprintf("pget -n 4 p0 -o '%s/p0'; mirror --parallel=4 --include='^p[1-5]$' . '%s'", dir, dir))
		require.NoError(t, err, out)
		for i := range 6 {
			requireSame(t, filepath.Join(s.files, fmt.Sprintf("p%d", i)), filepath.Join(dir, fmt.Sprintf("p%d", i)))
		}
		out, err = curlFTP(t, s, f.Root(), f.addr, "p[0-5]", "--parallel", "--output", filepath.Join(dir, "c#1"))
		require.NoError(t, err, out)
		for i := range 6 {
			requireSame(t, filepath.Join(s.files, fmt.Sprintf("p%d", i)), filepath.Join(dir, fmt.Sprintf("c%d", i)))
		}
	})
}

// needIPv6 is need for a machine without IPv6.
func needIPv6(t testing.TB) {
	t.Helper()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		unavailable(t, "no IPv6: %v", err)
	}
	require.NoError(t, ln.Close())
}

// Clients by IPv6 have servers by IPv4, and the other way round.
func TestFTPIPv6(t *testing.T) {
	t.Parallel()
	needIPv6(t)
	for name, c := range map[string]struct{ front, backend string }{
		"6 to 6": {"::1", "::1"}, "6 to 4": {"::1", "127.0.0.1"}, "4 to 6": {"127.0.0.1", "::1"},
	} {
		for kind, start := range ftpServers {
			t.Run(name+" "+kind, func(t *testing.T) {
				s := start(t, c.backend, nil)
				addr := freeAddrOn(t, c.front)
				caddy := startCaddy(t, fmt.Sprintf("%s {\nroute {\nstarttls ftp localhost\nproxy %s\n}\n}", addr, s.addr), []string{"localhost"}, addr)
				dir := t.TempDir()
				file := randomFile(t, dir, "file", 1<<20)
				url := "ftp://localhost:" + port(t, addr) + "/" + s.path + "six"
				for _, args := range [][]string{{"--upload-file", file}, {"--output", filepath.Join(dir, "got")}, {"--disable-epsv", "--output", filepath.Join(dir, "pasv")}} {
					if c.front == "::1" && args[0] == "--disable-epsv" {
						continue // there is no PASV for IPv6
					}
					args = append(args, "--silent", "--show-error", "--ssl-reqd", "--cacert", caddy.Root(), "--resolve", "localhost:"+port(t, addr)+":"+c.front, "--user", s.user+":"+s.password, url)
					out, err := run(t, clientTimeout, "", "curl", args...)
					require.NoError(t, err, out)
				}
				requireSame(t, file, filepath.Join(s.files, "six"))
				requireSame(t, file, filepath.Join(dir, "got"))
			})
		}
	}
}
