// Command load compares proxies that do TLS for a server: this plugin, caddy-l4 without it, a
// bare relay, nginx, stunnel, HAProxy and PgBouncer. See ../README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

// Settings are those of a run.
type settings struct {
	rounds   int
	n        int           // connections of a step, at the most
	step     time.Duration // and how long it may take
	mib      int           // of a transfer
	idle     int           // sessions that wait
	stalled  int           // negotiations that do
	parts    string
	only     string
	out      string // a directory
	caddy    string // a program
	patience time.Duration
}

func parse() *settings {
	s := new(settings)
	flag.IntVar(&s.rounds, "rounds", 5, "rounds, in each of which every step of every proxy is measured once")
	flag.IntVar(&s.n, "n", 400, "connections of a step, at the most")
	flag.DurationVar(&s.step, "step", 600*time.Millisecond, "how long a step of connections may take")
	flag.IntVar(&s.mib, "mib", 128, "size of a transfer, in MiB")
	flag.IntVar(&s.idle, "idle", 2000, "sessions that wait, while memory is measured")
	flag.IntVar(&s.stalled, "stalled", 5000, "negotiations that stall, while memory is measured")
	flag.StringVar(&s.parts, "parts", "connections,transfers,allocations,memory", "what is measured")
	flag.StringVar(&s.only, "only", "", "a part of the names of the proxies that are measured; all by default")
	flag.StringVar(&s.out, "out", ".", "the directory for results.md and the plots")
	flag.StringVar(&s.caddy, "caddy", "", "a Caddy to measure, from ../flood; by default it is built")
	flag.Parse()
	s.patience = time.Minute
	return s
}

func main() {
	if kind := os.Getenv(asRelay); kind != "" {
		exit(runRelay(kind))
	}
	exit(parse().run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// measures reports whether a part is measured.
func (s *settings) measures(part string) bool { return strings.Contains(s.parts, part) }

// run starts everything, measures, and writes the results.
func (s *settings) run() (err error) {
	if err := os.MkdirAll(s.out, 0o755); err != nil { //nolint:gosec // for everybody
		return err
	}
	b, err := startBackend()
	if err != nil {
		return err
	}
	l, err := newLab(s, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	go func() {
		<-interrupted
		_ = l.stop()
		os.Exit(1)
	}()
	if err := l.start(); err != nil {
		return err
	}
	r := newResults(s, l)
	for _, part := range []struct {
		name string
		run  func(*lab, *results) error
	}{
		{"connections", (*lab).measureConnections},
		{"transfers", (*lab).measureTransfers},
		{"allocations", (*lab).measureAllocations},
		{"memory", (*lab).measureMemory},
	} {
		if s.measures(part.name) {
			if err := part.run(l, r); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return r.write(s.out)
}
