package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is a proxy's, with the children that it has.
type process struct {
	name    string // of the program
	version string
	args    []string
	env     []string
	dir     string
	ready   []string // addresses that accept when it is there
	live    func() (int64, error)

	allocated func() ([2]float64, error) // objects and octets so far

	cmd *exec.Cmd
}

// start runs the program, and returns when it accepts.
func (p *process) start() error {
	log, err := os.Create(filepath.Join(p.dir, filepath.Base(p.name)+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(p.name, p.args...) //nolint:gosec // one of those that are compared
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Dir = p.dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for _, address := range p.ready {
		if err := p.await(address); err != nil {
			text, _ := os.ReadFile(log.Name())
			return errors.Join(fmt.Errorf("%s: %w: %s", p.name, err, text), p.stop())
		}
	}
	time.Sleep(100 * time.Millisecond) // its own beginning is no part of what is measured
	return nil
}

func (p *process) await(address string) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// stop ends the process and its children.
func (p *process) stop() error {
	if p.cmd == nil || p.cmd.Process == nil {
		return nil
	}
	err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	_ = p.cmd.Wait()
	p.cmd = nil
	return err
}

// pids are those of the process and its children.
func (p *process) pids() []int {
	pids := []int{p.cmd.Process.Pid}
	for i := 0; i < len(pids); i++ {
		list, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pids[i], pids[i]))
		for _, field := range strings.Fields(string(list)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpuTime is what all of them have used so far: fields 14 and 15 of proc(5)'s stat, in
// hundredths of a second.
func (p *process) cpuTime() (sum time.Duration) {
	for _, pid := range p.pids() {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, ok := strings.Cut(string(stat), ") ") // behind the program's name
		if !ok {
			continue
		}
		for _, field := range strings.Fields(rest)[11:13] {
			n, _ := strconv.Atoi(field)
			sum += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return sum
}

// resident is the memory of all of them that no other process shares, in octets.
func (p *process) resident() (sum int64) {
	for _, pid := range p.pids() {
		rollup, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		for line := range strings.Lines(string(rollup)) {
			if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[0], "Private_") {
				n, _ := strconv.ParseInt(fields[1], 10, 64)
				sum += n << 10
			}
		}
	}
	return sum
}

// freeAddress is one that nobody listens on, below the ports of outgoing connections.
func freeAddress() string {
	for {
		nextPort++
		address := fmt.Sprintf("127.0.0.1:%d", nextPort)
		if ln, err := net.Listen("tcp", address); err == nil {
			_ = ln.Close()
			return address
		}
	}
}

var nextPort = 21000 + os.Getpid()%4000

// version is the first line of what a program says of itself.
func version(name string, args ...string) string {
	out, _ := exec.Command(name, args...).CombinedOutput() //nolint:gosec // one of those that are compared
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return strings.TrimSpace(line)
}

// program finds an executable, also where servers are. It returns "" if there is none.
func program(name string) string {
	for _, path := range []string{name, "/usr/sbin/" + name, "/usr/bin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	return ""
}
