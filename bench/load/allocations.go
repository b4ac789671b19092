package main

import (
	"strconv"
	"strings"
	"time"
)

// An allocation is what a connection allocates on the heap: how often, and how much.
type allocation struct {
	name           string
	objects, bytes float64
}

// enough connections are served that what Caddy does meanwhile is less than an allocation of each.
const enough = 3000

// measureAllocations has each proxy that is Caddy's serve connections, and counts.
func (l *lab) measureAllocations(r *results) error {
	for _, t := range l.of("c") {
		if t.process.allocated == nil {
			continue
		}
		if _, err := l.connect(t, 1); err != nil {
			return err
		}
		began, err := t.process.allocated()
		if err != nil {
			return err
		}
		before, err := t.process.allocated()
		if err != nil {
			return err
		}
		n := 0.0
		for n < enough {
			s, err := l.connect(t, 1)
			if err != nil {
				return err
			}
			n += float64(len(s.latencies))
		}
		time.Sleep(100 * time.Millisecond)
		after, err := t.process.allocated()
		if err != nil {
			return err
		}
		of := func(i int) float64 { return (after[i] - before[i] - (before[i] - began[i])) / n } // asking allocates, too
		r.allocations = append(r.allocations, allocation{t.name, of(0), of(1)})
	}
	return nil
}

// caddyAllocations are all objects and octets that a Caddy has allocated so far.
func caddyAllocations(admin string) (sums [2]float64, err error) {
	metrics, err := get(admin, "/metrics")
	for line := range strings.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		for i, wanted := range []string{"go_memstats_mallocs_total", "go_memstats_alloc_bytes_total"} {
			if name == wanted {
				sums[i], _ = strconv.ParseFloat(value, 64)
			}
		}
	}
	return sums, err
}
