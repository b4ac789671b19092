package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A result is what a flood was to others.
type result struct {
	flood      flood
	latencies  []time.Duration // of good clients, sorted
	failed     int
	cost, each usage   // of all its connections, and of one
	ended      float64 // connections of a flood that does not stand still, a second
	backends   int64   // that were dialled before the good clients came
}

// setCost measures what the connections of a flood cost above what there was before.
func (r *result) setCost(c *caddy, before usage, connections int) error {
	after, err := c.memory()
	r.cost, r.each = after.above(before, 1), after.above(before, connections)
	return err
}

// String is a row of the table.
func (r *result) String() string {
	each, name := "| | ", r.flood.name
	if r.ended > 0 {
		name += fmt.Sprintf(" (%.0f)", r.ended)
	}
	if r.flood.stands {
		each = fmt.Sprintf("| %.1f KiB | %.1f KiB ", float64(r.each.live)/1024, float64(r.each.resident)/1024)
	}
	return fmt.Sprintf("| %s | %s | %s | %d of %d | %.1f MiB %s| %d |", name, r.quantile(50), r.quantile(99),
		r.failed, r.failed+len(r.latencies), float64(r.cost.live)/(1<<20), each, r.backends)
}

func (r *result) quantile(percent int) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	return r.latencies[(len(r.latencies)-1)*percent/100].Round(100 * time.Microsecond)
}

// measureGood has good clients come one after the other, whatever becomes of those before.
func (s *settings) measureGood(c *caddy) (latencies []time.Duration, failed int) {
	var mu sync.Mutex
	var all sync.WaitGroup
	each := time.NewTicker(time.Second / time.Duration(s.good))
	defer each.Stop()
	for range int(s.duration.Seconds() * float64(s.good)) {
		<-each.C
		all.Go(func() {
			begun := time.Now()
			err := visit(c.serving())
			took := time.Since(begun)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
				return
			}
			latencies = append(latencies, took)
		})
	}
	all.Wait()
	slices.Sort(latencies)
	return latencies, failed
}

// visit is a good client: it upgrades, and has the backend answer.
func visit(address string) error {
	raw, err := dialFrom(goodAddress, address)
	if err != nil {
		return err
	}
	defer abort(raw)
	config := &upgrade.Config{TLS: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // it is our own
	conn, err := upgrade.Request(context.Background(), raw, upgrade.SMTP, config)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "NOOP\r\n"); err != nil {
		return err
	}
	answer, err := conn.ReadLine()
	if err == nil && !strings.HasPrefix(answer, "250") {
		err = fmt.Errorf("answered %q", answer)
	}
	return err
}

// A backend is a mail server in plaintext.
type backend struct {
	net.Listener
	dialled atomic.Int64
}

func startBackend() (*backend, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b := &backend{Listener: ln}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			b.dialled.Add(1)
			go serveMail(conn)
		}
	}()
	return b, nil
}

func (b *backend) address() string { return b.Addr().String() }

func serveMail(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "220 backend ESMTP\r\n")
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if _, err := io.WriteString(conn, "250 ok\r\n"); err != nil {
			return
		}
	}
}
