package interop

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A data connection that must resume the TLS session of its control connection does so with
// curl and lftp, and with Python's ftplib if it is told to. Nobody gets it who comes from another
// address than the client's, and the client has it all the same.
func TestFTPDataConnectionsOfTheClient(t *testing.T) {
	t.Parallel()
	s := startProFTPD(t, "127.0.0.1", nil)
	f, strict := startFTPFront(t, s), startFTPFront(t, s, "data_resumption required")
	file, got := randomFile(t, s.files, "file", 1<<20), filepath.Join(t.TempDir(), "got")
	out, err := curlFTP(t, s, strict.Root(), strict.addr, "file", "--output", got)
	require.NoError(t, err, out)
	requireSame(t, file, got)
	out, err = lftp(t, s, strict.Root(), strict.addr, "ls; get file -o '"+got+"2'")
	require.NoError(t, err, out)
	requireSame(t, file, got+"2")
	fetch := func(f *front, how string) string {
		out, err := run(t, ftpTimeout, "", "python3", "testdata/ftp_fetch.py", port(t, f.addr), f.Root(), s.user, s.password, "file", how)
		require.NoError(t, err, out)
		return out
	}
	require.Equal(t, "226, 1048576 octets\n", fetch(strict, "reuse"))
	require.Equal(t, "refused, 0 octets\n", fetch(strict, "anew"))
	require.Equal(t, "226, 1048576 octets\n", fetch(f, "anew"))
	require.Equal(t, "another address: b''\n226, 1048576 octets\n", fetch(f, "elsewhere"))
}

// With passthrough the control connection is upgraded to the server's own TLS, and data
// connections go to the server without Caddy, which resume that TLS session there.
func TestFTPPassthrough(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	inEachFTPServer(t, ca, func(t *testing.T, s *ftpServer) {
		const pass = " ftp {\npassthrough\n}\n"
		r := startRoutes(t, nil, map[string]string{"ftp": "starttls" + pass + "starttls_upstream" + pass + "proxy " + s.addr})
		dir := t.TempDir()
		file := randomFile(t, dir, "file", 5<<20)
		transfer := func(args ...string) {
			t.Helper()
			need(t, "curl")
			there := upHost + ":" + port(t, r.addr["ftp"])
			out, err := run(t, ftpTimeout, "", "curl", append(args, "--silent", "--show-error", "--ssl-reqd", "--cacert", ca.file,
				"--resolve", there+":127.0.0.1", "--user", s.user+":"+s.password, "ftp://"+there+"/"+s.path+"passed")...)
			require.NoError(t, err, out)
		}
		transfer("--upload-file", file)
		requireSame(t, file, filepath.Join(s.files, "passed"))
		for name, how := range map[string]string{"EPSV": "--no-disable-epsv", "PASV": "--disable-epsv"} {
			transfer(how, "--output", filepath.Join(dir, name))
			requireSame(t, file, filepath.Join(dir, name))
		}
	})
}
