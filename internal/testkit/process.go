// Package testkit is what the project's tests have in common that start programs: processes,
// free addresses, files and certificates. Test folders put what they are about on top.
package testkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// StartTimeout bounds every wait for a server to come up. It is generous: a
	// loaded machine with two cores may take its time.
	StartTimeout = time.Minute

	// StopTimeout is how long a server may take to end after SIGTERM.
	StopTimeout = 10 * time.Second
)

// Program finds an executable, also where servers live that are no user's
// commands. It returns "" if there is none.
func Program(name string) string {
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

// Run executes a program to its end and returns what it printed, on both outputs,
// with its exit error. It is killed, with its children, when the time is over.
func Run(t testing.TB, timeout time.Duration, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, Program(name), args...)
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

// A Process is a program that a test started.
type Process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// Start starts a program in a process group of its own. What it prints goes to a file,
// shown if the test fails, unless the command has outputs of its own. When the test ends,
// so do the program and its group.
func Start(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer func() { _ = log.Close() }()
	if cmd.Stdout == nil {
		cmd.Stdout, cmd.Stderr = log, log
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, cmd.Start())
	p := &Process{cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { p.Stop(t) })
	return p
}

// Log returns what the process has printed so far.
func (p *Process) Log() string {
	text, _ := os.ReadFile(p.log)
	return string(text)
}

// LogFile is where the process prints to.
func (p *Process) LogFile() string { return p.log }

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends the process a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Done is closed when the process itself has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exited reports whether the process itself has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Stop asks the process to end, makes it end if it does not, and requires that
// nothing of its group is left. Stopping twice is harmless.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(StopTimeout):
		t.Errorf("%s ignored SIGTERM for %v", p.cmd.Path, StopTimeout)
	}
	p.killGroup(t)
	if t.Failed() {
		t.Logf("%s printed:\n%s", p.cmd.Path, p.Log())
	}
}

// killGroup ends the children that outlived the process, and waits for that.
func (p *Process) killGroup(t testing.TB) {
	t.Helper()
	group := -p.cmd.Process.Pid
	for deadline := time.Now().Add(StopTimeout); time.Now().Before(deadline); {
		if err := syscall.Kill(group, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			<-p.done
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("children of %s are still there", p.cmd.Path)
}
