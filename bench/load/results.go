package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Results are what a run has measured.
type results struct {
	settings    *settings
	lab         *lab
	begun       time.Time
	connections connectionResults
	transfers   transferResults
	idle        []idleMemory
	stalled     []stalledMemory
	allocations []allocation
}

type idleMemory struct {
	name         string
	opened, used usage
}

type stalledMemory struct {
	name string
	each usage
}

func newResults(s *settings, l *lab) *results {
	return &results{settings: s, lab: l, begun: time.Now(), connections: connectionResults{}, transfers: transferResults{}}
}

// A series is one figure, round by round.
type series []float64

func (s series) median() float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}

// spread is the median with the least and the most.
func (s series) spread(format string) string {
	if len(s) == 0 {
		return "-"
	}
	return fmt.Sprintf(format+" ("+format+"-"+format+")", s.median(), slices.Min(s), slices.Max(s))
}

// over are the ratios, round by round.
func (s series) over(other series) (ratios series) {
	for i := range min(len(s), len(other)) {
		ratios = append(ratios, s[i]/other[i])
	}
	return ratios
}

type connectionKey struct {
	name    string
	clients int
}

type connectionSeries struct {
	rate, cpu series
	latencies []float64
}

type connectionResults map[connectionKey]*connectionSeries

func (r connectionResults) add(name string, clients int, s *step) {
	key := connectionKey{name, clients}
	if r[key] == nil {
		r[key] = new(connectionSeries)
	}
	c := r[key]
	c.rate, c.cpu = append(c.rate, s.rate), append(c.cpu, s.cpu)
	c.latencies = append(c.latencies, s.latencies...)
}

// cpu is the CPU time of a connection, and rate how many there are in a second.
func (r connectionResults) cpu(name string, clients int) series  { return r.of(name, clients).cpu }
func (r connectionResults) rate(name string, clients int) series { return r.of(name, clients).rate }

func (r connectionResults) of(name string, clients int) *connectionSeries {
	if c := r[connectionKey{name, clients}]; c != nil {
		return c
	}
	return new(connectionSeries)
}

// percentile of all latencies, in milliseconds.
func (c *connectionSeries) percentile(p float64) float64 {
	if len(c.latencies) == 0 {
		return 0
	}
	slices.Sort(c.latencies)
	return c.latencies[min(len(c.latencies)-1, int(p*float64(len(c.latencies))))]
}

type transferKey struct {
	move, name string
	streams    int
}

type transferSeries struct{ rate, cpu series }

type transferResults map[transferKey]*transferSeries

func (r transferResults) add(move, name string, streams int, rate, cpu float64) {
	key := transferKey{move, name, streams}
	if r[key] == nil {
		r[key] = new(transferSeries)
	}
	r[key].rate, r[key].cpu = append(r[key].rate, rate), append(r[key].cpu, cpu)
}

func (r transferResults) of(move, name string, streams int) *transferSeries {
	if t := r[transferKey{move, name, streams}]; t != nil {
		return t
	}
	return new(transferSeries)
}

// write leaves tables and plots in a directory, and prints the tables.
func (r *results) write(dir string) error {
	var t strings.Builder
	r.writeHead(&t)
	r.writeConnections(&t)
	r.writeTransfers(&t)
	r.writeAllocations(&t)
	r.writeMemory(&t)
	r.writeRatios(&t)
	fmt.Print(t.String())
	if err := os.WriteFile(filepath.Join(dir, "results.md"), []byte(t.String()), 0o644); err != nil { //nolint:gosec // for everybody
		return err
	}
	return r.plot(dir)
}

func (r *results) writeHead(t *strings.Builder) {
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(t, "Measured on %s, %d processors, load at the end %s. ", r.begun.UTC().Format("2006-01-02 15:04 MST"), runtime.NumCPU(), strings.TrimSpace(string(load)))
	fmt.Fprintf(t, "%d rounds in %s. Figures are medians, with the least and the most in brackets.\n\n", r.settings.rounds, time.Since(r.begun).Round(time.Second))
	for _, p := range r.lab.all {
		fmt.Fprintf(t, "- %s\n", p.version)
	}
	for _, name := range r.lab.absent {
		fmt.Fprintf(t, "- left out, since it is not installed: %s\n", name)
	}
	t.WriteByte('\n')
}
