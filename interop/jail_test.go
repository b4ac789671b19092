package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A jail is a directory that programs take for the whole file system: for servers that have the paths of their
// files compiled in.
type jail struct{ dir string }

// newJail copies an unpacked package, to which an environment variable leads, with the libraries that the programs
// need. The users are added to root.
func newJail(t testing.TB, root string, programs []string, users ...string) *jail {
	t.Helper()
	unpacked := os.Getenv(root)
	if _, err := os.Stat(filepath.Join(unpacked, programs[0])); unpacked == "" || err != nil {
		unavailable(t, "%s is not unpacked, or %s does not lead to it", filepath.Base(programs[0]), root)
	}
	needRoot(t)
	j := &jail{dir: serverDir(t)}
	j.copy(t, unpacked+"/.", "")
	j.copy(t, "/bin/sh", "/bin/sh")
	j.copyLibraries(t, programs)
	for _, dir := range []string{"dev", "tmp"} {
		require.NoError(t, os.MkdirAll(filepath.Join(j.dir, dir), 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(j.dir, "tmp"), 0o777))
	j.makeNull(t)
	writeFile(t, j.dir, "etc/passwd", "root:x:0:0::/:/bin/sh\n"+strings.Join(users, ""))
	return j
}

// copy copies from the file system into the jail.
func (j *jail) copy(t testing.TB, from, to string) {
	t.Helper()
	target := filepath.Join(j.dir, to)
	require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
	options := "-a"
	if !strings.HasSuffix(from, "/.") {
		options = "-aL" // the library, and not a link to where it is
	}
	out, err := run(t, clientTimeout, "", "cp", options, from, target)
	require.NoError(t, err, out)
}

// makeNull makes /dev/null, or where nobody may make devices, as in some containers, a file that is as good for servers.
func (j *jail) makeNull(t testing.TB) {
	t.Helper()
	null := filepath.Join(j.dir, "dev/null")
	if err := syscall.Mknod(null, syscall.S_IFCHR|0o666, 1<<8|3); err != nil {
		require.NoError(t, os.WriteFile(null, nil, 0o600))
	}
	require.NoError(t, os.Chmod(null, 0o666))
}

// library finds the files in what ldd prints.
var library = regexp.MustCompile(`(?m)(?:=> |^\t)(/\S+)`)

func (j *jail) copyLibraries(t testing.TB, programs []string) {
	t.Helper()
	lib := filepath.Join(j.dir, "usr/lib")
	args := []string{"LD_LIBRARY_PATH=" + lib + ":" + lib + "/x86_64-linux-gnu", "ldd", "/bin/sh"}
	for _, name := range programs {
		args = append(args, filepath.Join(j.dir, name))
	}
	out, err := run(t, clientTimeout, "", "env", args...)
	require.NoError(t, err, out)
	require.NotContains(t, out, "not found")
	for _, found := range library.FindAllStringSubmatch(out, -1) {
		path := found[1]
		if _, err := os.Stat(filepath.Join(j.dir, path)); err == nil || strings.HasPrefix(path, j.dir) {
			continue
		}
		j.copy(t, path, path)
	}
}

// command is a program of the jail's.
func (j *jail) command(name string, args ...string) *exec.Cmd {
	return exec.Command("chroot", append([]string{j.dir, name}, args...)...)
}

// run runs a program of the jail's to its end.
func (j *jail) run(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	cmd := j.command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}
