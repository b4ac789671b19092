package main

import (
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// clientCounts are how many clients there are at a time.
var clientCounts = []int{1, 16, 64}

// measureConnections has clients begin sessions, one behind the other, and end them. A round
// has each proxy once with each number of clients.
func (l *lab) measureConnections(r *results) error {
	targets := l.of("c")
	for round := range l.settings.rounds + 1 { // the first is for what is done but once
		for _, clients := range clientCounts {
			for _, t := range targets {
				s, err := l.connect(t, clients)
				if err != nil {
					return err
				}
				if round > 0 {
					r.connections.add(t.name, clients, s)
				}
			}
		}
		progress("connections", round, l.settings.rounds)
	}
	return nil
}

func progress(what string, round, rounds int) {
	if round > 0 {
		fmt.Printf("%s: round %d of %d, %s\n", what, round, rounds, time.Now().Format(time.TimeOnly))
	}
}

// A step is what has come of one.
type step struct {
	rate      float64   // connections a second
	cpu       float64   // CPU milliseconds of a connection
	latencies []float64 // in milliseconds, sorted
}

// connect measures one step.
func (l *lab) connect(t *target, clients int) (*step, error) {
	config := l.backend.secrets.newClient()
	if t.resumed {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(2 * clients)
		if s, err := t.open(config, l.settings.patience); err == nil {
			_ = s.Close()
		}
	}
	var left atomic.Int64
	left.Store(int64(l.settings.n))
	var mu sync.Mutex
	var failed error
	s, begun, before := new(step), time.Now(), t.process.cpuTime()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			latencies, err := t.visits(config, &left, begun.Add(l.settings.step), l.settings.patience)
			mu.Lock()
			defer mu.Unlock()
			s.latencies = append(s.latencies, latencies...)
			if err != nil {
				failed = err
			}
		})
	}
	all.Wait()
	took := time.Since(begun)
	if failed != nil {
		return nil, failed
	}
	time.Sleep(30 * time.Millisecond) // the ends are a part of it
	n := float64(len(s.latencies))
	s.rate = n / took.Seconds()
	s.cpu = float64((t.process.cpuTime() - before).Microseconds()) / 1000 / n
	return s, nil
}

// visits are those of one client.
func (t *target) visits(config *tls.Config, left *atomic.Int64, until time.Time, patience time.Duration) (latencies []float64, err error) {
	for left.Add(-1) >= 0 && (len(latencies) == 0 || time.Now().Before(until)) {
		begun := time.Now()
		s, err := t.open(config, patience)
		if err != nil {
			return latencies, err
		}
		latencies = append(latencies, float64(time.Since(begun).Microseconds())/1000)
		if t.resumed && !s.Conn.(*tls.Conn).ConnectionState().DidResume {
			s.abort()
			return latencies, fmt.Errorf("%s: not resumed", t.name)
		}
		if err := s.Close(); err != nil {
			return latencies, err
		}
	}
	return latencies, nil
}
