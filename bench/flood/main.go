// Command flood has one address flood a Caddy with starttls, and measures what that is to the
// clients of another address beside it, and to Caddy's memory. See ../README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// Settings are those of a run.
type settings struct {
	connections int           // of each flood that stands still
	rate        int           // of the flood of errors, in connections a second
	good        int           // clients beside it, a second
	duration    time.Duration // of each measurement
	perAddress  int           // the limit of the last flood
	keep        bool          // Caddy's log
}

func main() {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main() // this program is the Caddy, too
		return
	}
	s := new(settings)
	flag.IntVar(&s.connections, "n", 10000, "connections of each flood that stands still")
	flag.IntVar(&s.rate, "errors", 1000, "connections a second of the flood of errors")
	flag.IntVar(&s.good, "good", 40, "good clients a second")
	flag.DurationVar(&s.duration, "time", 20*time.Second, "how long good clients are measured")
	flag.IntVar(&s.perAddress, "per_address", 100, "the limit of the last flood")
	flag.BoolVar(&s.keep, "log", false, "show Caddy's log")
	flag.Parse()
	if err := s.run(); err != nil {
		fmt.Fprintln(os.Stderr, "flood:", err)
		os.Exit(1)
	}
}

// run measures each flood with a Caddy of its own, and prints a table.
func (s *settings) run() error {
	backend, err := startBackend()
	if err != nil {
		return err
	}
	fmt.Println("| the flood | p50 | p99 | failed | heap and stacks | of each connection | resident, of each | backends |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, f := range s.floods() {
		r, err := s.measure(f, backend)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		fmt.Println(r)
	}
	return nil
}

// measure has a flood come upon a fresh Caddy.
func (s *settings) measure(f flood, backend *backend) (r *result, err error) {
	c, err := newCaddy(s, backend.address(), f.limits)
	if err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	r = &result{flood: f}
	before, err := c.memory()
	if err != nil {
		return nil, err
	}
	dialled := backend.dialled.Load()
	flooding, err := f.begin(s, c)
	if err != nil {
		return nil, err
	}
	defer flooding.end()
	r.backends = backend.dialled.Load() - dialled
	if f.stands {
		if err := r.setCost(c, before, s.connections); err != nil {
			return nil, err
		}
	}
	ended, begun := flooding.ended.Load(), time.Now()
	r.latencies, r.failed = s.measureGood(c)
	r.ended = float64(flooding.ended.Load()-ended) / time.Since(begun).Seconds()
	if !f.stands {
		err = r.setCost(c, before, 1)
	}
	return r, err
}
