package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A lab is all proxies, and what is in front of them and behind.
type lab struct {
	settings *settings
	backend  *backend
	dir      string
	targets  []*target
	all      []*process // in the order of targets
	absent   []string   // programs that are not there
}

// A target is one way of one proxy.
type target struct {
	name    string
	process *process
	address string
	talk    talk
	resumed bool
	parts   string // what is measured of it: c(onnections), t(ransfers), m(emory), n(egotiations that stall)

	moves   []string // transfers, by name
	stalled *talk    // a negotiation that does not go on
}

func newLab(s *settings, b *backend) (*lab, error) {
	dir, err := os.MkdirTemp("", "load")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, backend: b, dir: dir}
	err = errors.Join(os.Chmod(dir, 0o755), b.secrets.write(dir)) //nolint:gosec // servers change their user
	if err == nil && s.caddy == "" {
		s.caddy = filepath.Join(dir, "caddy")
		build := exec.Command("go", "build", "-o", s.caddy, "./bench/flood") //nolint:gosec // of this repository
		build.Dir = "../.."
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err == nil {
		err = errors.Join(l.addCaddy(), l.addRelay(), l.addNginx(), l.addStunnel(), l.addHAProxy(), l.addPgBouncer())
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, nil
}

// add takes a process with what it serves, in so far as it is to be measured.
func (l *lab) add(p *process, targets ...*target) {
	used := false
	for _, t := range targets {
		t.process = p
		if t.address == "" {
			t.address = freeAddress()
		}
		if strings.Contains(t.name, l.settings.only) {
			l.targets = append(l.targets, t)
			used = true
		}
	}
	if used {
		p.dir = l.dir
		l.all = append(l.all, p)
	}
}

// start runs all proxies.
func (l *lab) start() error {
	for _, p := range l.all {
		if err := p.start(); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) stop() (err error) {
	for _, p := range l.all {
		err = errors.Join(err, p.stop())
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// of are the targets of which a part is measured.
func (l *lab) of(part string) (list []*target) {
	for _, t := range l.targets {
		if strings.Contains(t.parts, part) {
			list = append(list, t)
		}
	}
	return list
}

func (l *lab) file(name, content string) (string, error) {
	path := filepath.Join(l.dir, name)
	return path, os.WriteFile(path, []byte(content), 0o644) //nolint:gosec // servers change their user
}
