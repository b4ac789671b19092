package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An ftpServer is a server of FTP that runs, for one user, whose files are in a directory.
type ftpServer struct {
	addr           string
	files          string
	path           string // of the files, for clients, where they do not begin there
	user, password string
}

// ftpServers are the kinds of servers. With an authority they demand TLS, for data connections
// as well, with a certificate for upHost.
var ftpServers = map[string]func(t testing.TB, ip string, ca *authority) *ftpServer{
	"vsftpd":    startVsftpd,
	"proftpd":   startProFTPD,
	"pure-ftpd": startPureFTPd,
}

// ftpProgram finds a server's program. As packages they exclude each other, so they may be
// unpacked only, and FTPD_ROOT says where.
func ftpProgram(t testing.TB, path string) string {
	t.Helper()
	found := filepath.Join(os.Getenv("FTPD_ROOT"), path)
	if _, err := os.Stat(found); err != nil {
		unavailable(t, "%s is not installed, and FTPD_ROOT does not lead to it", filepath.Base(path))
	}
	needRoot(t)
	return found
}

// nobodyID is Debian's user nobody, who owns the files.
const nobodyID = 65534

// newFTPServer makes a place for files, at a free address.
func newFTPServer(t testing.TB, ip string) *ftpServer {
	t.Helper()
	s := &ftpServer{addr: freeAddrOn(t, ip), files: filepath.Join(serverDir(t), "files"), user: mailUser, password: mailPassword}
	require.NoError(t, os.Mkdir(s.files, 0o755))
	require.NoError(t, os.Chmod(s.files, 0o777)) // whoever the server runs as
	return s
}

// startVsftpd runs vsftpd, for its anonymous user: others would have to be the machine's. That
// one may not own the root of the files.
func startVsftpd(t testing.TB, ip string, ca *authority) *ftpServer {
	t.Helper()
	program := ftpProgram(t, "/usr/sbin/vsftpd")
	s := newFTPServer(t, ip)
	s.user, s.password, s.path = "anonymous", "joe@example.com", "files/"
	empty := serverDir(t)
	listen := "listen_address=" + ip
	if ip == "::1" {
		listen = "listen=NO\nlisten_ipv6=YES\nlisten_address6=::1"
	}
	settings := ""
	if ca != nil {
		cert, key := ca.issue(t, upHost)
		settings = fmt.Sprintf("ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n"+
			"require_ssl_reuse=YES\nstrict_ssl_read_eof=YES\nrsa_cert_file=%s\nrsa_private_key_file=%s", cert, key)
	}
	config := writeFile(t, empty, "vsftpd.conf", fmt.Sprintf(`
background=NO
listen=YES
%s
listen_port=%s
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_root=%s
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
ftp_username=bin
nopriv_user=nobody
secure_chroot_dir=%s
seccomp_sandbox=NO
isolate=NO
isolate_network=NO
vsftpd_log_file=%s/log
%s
`, listen, port(t, s.addr), filepath.Dir(s.files), empty, empty, settings))
	startProcess(t, program, config)
	waitTCP(t, s.addr)
	return s
}

// proftpdConf has settings of ProFTPD's, with those of a test behind them.
const proftpdConf = `
ModulePath %[5]s
ServerType standalone
DefaultServer on
ServerName test
DefaultAddress %[1]s
Port %[2]s
UseIPv6 on
User nobody
Group nogroup
PidFile %[3]s/pid
ScoreboardFile %[3]s/scoreboard
DelayTable none
AuthOrder mod_auth_file.c
AuthUserFile %[3]s/passwd
RequireValidShell off
AllowOverwrite on
AllowStoreRestart on
WtmpLog off
TransferLog none
SystemLog %[3]s/log
%[4]s
`

func startProFTPD(t testing.TB, ip string, ca *authority) *ftpServer {
	t.Helper()
	program := ftpProgram(t, "/usr/sbin/proftpd")
	s := newFTPServer(t, ip)
	dir, settings := filepath.Dir(s.files), ""
	if ca != nil {
		cert, key := ca.issue(t, upHost)
		settings = fmt.Sprintf("LoadModule mod_tls.c\nTLSEngine on\nTLSRequired on\nTLSProtocol TLSv1.2 TLSv1.3\nTLSECCertificateFile %s\n"+
			"TLSECCertificateKeyFile %s\nTLSLog %s/tls.log", cert, key, dir)
	}
	entry := fmt.Sprintf("%s:%s:%d:%d::%s:/bin/false\n", s.user, passwordHash(t, s.password), nobodyID, nobodyID, s.files)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "passwd"), []byte(entry), 0o600))
	modules := ftpProgram(t, "/usr/lib/proftpd")
	config := writeFile(t, dir, "proftpd.conf", fmt.Sprintf(proftpdConf, ip, port(t, s.addr), dir, settings, modules))
	startProcess(t, program, "--nodaemon", "--config", config)
	waitTCP(t, s.addr)
	return s
}

// passwordHash is one that crypt(3) knows.
func passwordHash(t testing.TB, password string) string {
	t.Helper()
	hash, err := run(t, clientTimeout, "", "openssl", "passwd", "-6", password)
	require.NoError(t, err, hash)
	return strings.TrimSpace(hash)
}

func startPureFTPd(t testing.TB, ip string, ca *authority) *ftpServer {
	t.Helper()
	program, pw := ftpProgram(t, "/usr/sbin/pure-ftpd"), ftpProgram(t, "/usr/bin/pure-pw")
	s := newFTPServer(t, ip)
	dir := filepath.Dir(s.files)
	database := filepath.Join(dir, "passwd.pdb")
	// pure-pw makes hashes that take seconds.
	passwd := filepath.Join(dir, "passwd")
	entry := fmt.Sprintf("%s:%s:%d:%d::%s/./::::::::::::\n", s.user, passwordHash(t, s.password), nobodyID, nobodyID, s.files)
	require.NoError(t, os.WriteFile(passwd, []byte(entry), 0o600))
	out, err := run(t, clientTimeout, "", pw, "mkdb", database, "-f", passwd)
	require.NoError(t, err, out)
	args := []string{"-S", ip + "," + port(t, s.addr), "-l", "puredb:" + database, "-E", "-H", "-u", "1000", "-g", filepath.Join(dir, "pid"), "-c", "100", "-C", "100", "-Y"}
	if ca == nil {
		args = append(args, "0")
	} else {
		cert, key := ca.issue(t, upHost)
		args = append(args, "3", "-2", cert+","+key)
	}
	startProcess(t, program, args...)
	waitTCP(t, s.addr)
	return s
}
