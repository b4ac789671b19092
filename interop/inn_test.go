package interop

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// newsGroup is the one group of INN's.
const newsGroup = "local.test"

// inn is a running INN: its server for readers, and the one for its peers.
type inn struct {
	reader, peer string
	dir, bin     string
	env          []string
}

// newINN makes a place for INN to work in. As a package it wants the machine to have a name
// with a domain, so it is only unpacked, and INN_ROOT says where.
func newINN(t testing.TB) *inn {
	t.Helper()
	lib := filepath.Join(os.Getenv("INN_ROOT"), "/usr/lib/news")
	n := &inn{dir: serverDir(t), bin: filepath.Join(lib, "bin"), reader: freeAddr(t), peer: freeAddr(t)}
	if _, err := os.Stat(filepath.Join(n.bin, "nnrpd")); err != nil {
		unavailable(t, "INN is not installed, and INN_ROOT does not lead to it: %v", err)
	}
	needRoot(t)
	n.env = append(os.Environ(), "INNCONF="+filepath.Join(n.dir, "etc/inn.conf"), "LD_LIBRARY_PATH="+lib)
	return n
}

// innConf has settings of INN's, with those of a test behind them. Readers come to a
// server of their own.
const innConf = `
pathhost: news.example.com
domain: example.com
mta: "/bin/true"
organization: Test
ovmethod: tradindexed
hismethod: hisv6
noreader: true
doinnwatch: false
nnrpdloadlimit: 0
bindaddress: 127.0.0.1
sourceaddress: 127.0.0.1
port: %[2]s
nnrpdpostport: %[2]s
pathnews: %[1]s
pathbin: %[3]s
pathdb: %[1]s/db
pathetc: %[1]s/etc
pathrun: %[1]s/run
pathlog: %[1]s/log
pathspool: %[1]s/spool
pathtmp: %[1]s/tmp
pathfilter: %[1]s/etc
pathhttp: %[1]s/log
%[4]s
`

// innFiles are INN's other files. %s is the directory.
var innFiles = map[string]string{
	"etc/storage.conf":  "method tradspool {\n  newsgroups: *\n  class: 0\n}\n",
	"etc/readers.conf":  "auth all {\n  auth: \"ckpasswd -f %s/etc/passwd\"\n}\naccess all {\n  users: \"*\"\n  newsgroups: \"*\"\n  access: RPA\n}\n",
	"etc/incoming.conf": "streaming: true\npeer localhost {\n  hostname: 127.0.0.1\n}\n",
	"etc/newsfeeds":     "ME:*::\n",
	"etc/expire.ctl":    "/remember/:11\n*:A:1:10:never\n",
	"etc/control.ctl":   "all:*:*:*:drop\n",
	"etc/moderators":    "",
	"etc/distrib.pats":  "",
	"etc/localgroups":   "",
	"etc/subscriptions": "",
	"etc/distributions": "",
	"db/active":         "control 0000000000 0000000001 n\ncontrol.cancel 0000000000 0000000001 n\njunk 0000000000 0000000001 y\n" + newsGroup + " 0000000000 0000000001 y\n",
	"db/newsgroups":     newsGroup + "\tA test\n",
	"db/active.times":   "",
	"db/history":        "",
}

// startINN runs INN with further settings, for one user, who may read and post.
func startINN(t testing.TB, settings string) *inn {
	t.Helper()
	n := newINN(t)
	n.write(t, settings)
	makedbz := n.command(t, "makedbz", "-i", "-o", "-s", "1000")
	makedbz.Dir = filepath.Join(n.dir, "db")
	out, err := makedbz.CombinedOutput()
	require.NoError(t, err, "%s", out)
	startCmd(t, n.command(t, "innd", "-d", "-P", port(t, n.peer)))
	waitTCP(t, n.peer)
	t.Cleanup(func() { // a signal would wait for the next connection
		out, err := n.command(t, "ctlinnd", "-t", "10", "shutdown", "end of test").CombinedOutput()
		require.NoError(t, err, "%s", out)
	})
	startCmd(t, n.command(t, "nnrpd", "-D", "-f", "-b", "127.0.0.1", "-p", port(t, n.reader), "-c", n.dir+"/etc/readers.conf"))
	waitTCP(t, n.reader)
	return n
}

// write writes INN's files, which belong to the user that it runs as.
func (n *inn) write(t testing.TB, settings string) {
	t.Helper()
	for _, dir := range []string{"run", "log", "tmp", "spool/articles", "spool/overview", "spool/outgoing", "spool/incoming", "spool/archive"} {
		require.NoError(t, os.MkdirAll(filepath.Join(n.dir, dir), 0o755))
	}
	writeFile(t, n.dir, "etc/inn.conf", fmt.Sprintf(innConf, n.dir, port(t, n.peer), n.bin, settings))
	for name, text := range innFiles {
		if name == "etc/readers.conf" {
			text = fmt.Sprintf(text, n.dir)
		}
		writeFile(t, n.dir, name, text)
	}
	hash, err := run(t, clientTimeout, "", "openssl", "passwd", "-6", mailPassword)
	require.NoError(t, err, hash)
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "etc/passwd"), []byte(mailUser+":"+hash), 0o600))
	id := innUser(t)
	require.NoError(t, filepath.Walk(n.dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, int(id.Uid), int(id.Gid))
	}))
}

// innUser is compiled into Debian's INN.
func innUser(t testing.TB) *syscall.Credential {
	t.Helper()
	news, err := user.Lookup("news")
	if err != nil {
		unavailable(t, "no user for INN: %v", err)
	}
	uid, err := strconv.ParseUint(news.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(news.Gid, 10, 32)
	require.NoError(t, err)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// command is one of INN's programs.
func (n *inn) command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(n.bin, name), args...)
	cmd.Env, cmd.Dir = n.env, n.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: innUser(t)}
	return cmd
}

// withTLS has INN's server for readers upgrade by itself.
func withTLS(t testing.TB, ca *authority) string {
	t.Helper()
	cert, key := ca.issue(t, upHost)
	require.NoError(t, os.Chown(key, int(innUser(t).Uid), -1))
	require.NoError(t, os.Chmod(key, 0o400))
	return fmt.Sprintf("tlscertfile: %s\ntlskeyfile: %s\ntlscapath: %s", cert, key, filepath.Dir(cert))
}
