package main

import (
	"fmt"
	"strings"
)

const (
	theirs = "caddy-l4 tls + proxy"
	goes   = "ours, smtp"
	stays  = "ours, smtp, filter stays"
	idles  = "a handler that does nothing"
)

// A ratio is one of two proxies, taken in one run, and what it is to be.
type ratio struct {
	what, ours, other string
	bound             float64
}

// cpuRatios are of the CPU time of a connection, at most the bound. rateRatios are of
// connections a second, at least the bound.
var (
	cpuRatios = []ratio{
		{"smtp, against implicit TLS in caddy-l4", goes, theirs, 1.05},
		{"imap, the same", "ours, imap", theirs, 1.05},
		{"pop3, the same", "ours, pop3", theirs, 1.05},
		{"postgres, the same", "ours, postgres", theirs, 0.95},
		{"ldap, the same", "ours, ldap", theirs, 0.95},
		{"smtp, against a bare Go relay", goes, "bare Go relay, smtp", 1.08},
		{"postgres, against a bare Go relay", "ours, postgres", "bare Go relay, postgres", 1.08},
		{"postgres, against caddy-l4's postgres_tls", "ours, postgres", "caddy-l4 postgres_tls + tls", 1},
		{"smtp resumed, against unresumed", "ours, smtp, resumed", goes, 0.80},
		{"smtp with MAIL and RCPT, against nginx", "ours, smtp, MAIL and RCPT", "nginx mail, smtp, MAIL and RCPT", 0.85},
		{"imap with LOGIN, against nginx", "ours, imap, LOGIN", "nginx mail, imap, LOGIN", 0.85},
		{"pop3 with PASS, against nginx", "ours, pop3, PASS", "nginx mail, pop3, PASS", 0.85},
	}
	rateRatios = []struct {
		ratio         // at 64 clients
		at16  float64 // its bound at 16 clients
	}{
		{ratio{"smtp with MAIL and RCPT, against nginx", "ours, smtp, MAIL and RCPT", "nginx mail, smtp, MAIL and RCPT", 1.3}, 2.3},
		{ratio{"imap with LOGIN, against nginx", "ours, imap, LOGIN", "nginx mail, imap, LOGIN", 1.3}, 2.3},
		{ratio{"pop3 with PASS, against nginx", "ours, pop3, PASS", "nginx mail, pop3, PASS", 1.3}, 2.3},
		{ratio{"postgres, against PgBouncer", "ours, postgres", "PgBouncer, postgres", 1}, 1},
	}
	transferRatios = []struct {
		move string
		ratio
	}{
		{"raw-up", ratio{"smtp, filter gone, against implicit TLS in caddy-l4", goes, theirs, 1.02}},
		{"raw-down", ratio{"smtp, filter gone, the same", goes, theirs, 1.02}},
		{"raw-up", ratio{"postgres, filter gone, the same", "ours, postgres", theirs, 1.02}},
		{"raw-down", ratio{"postgres, filter gone, the same", "ours, postgres", theirs, 1.02}},
		{"mail-up", ratio{"smtp, filter that stays, the same", stays, theirs, 1.15}},
		{"binary-up", ratio{"smtp, filter that stays, the same", stays, theirs, 1.15}},
		{"replies-down", ratio{"smtp, filter that stays, the same", stays, theirs, 1.15}},
		{"raw-up", ratio{"starttls_upstream, against proxy's own TLS", "ours, starttls_upstream smtp", "caddy-l4 proxy with TLS upstream", 1.05}},
		{"raw-down", ratio{"starttls_upstream, against proxy's own TLS", "ours, starttls_upstream smtp", "caddy-l4 proxy with TLS upstream", 1.05}},
	}
)

// writeRatios has what the project wants to hold, and whether it does. The ratios are taken
// round by round.
func (r *results) writeRatios(t *strings.Builder) {
	t.WriteString("## Ratios\n\n| | | wanted | measured | |\n|---|---|---|---|---|\n")
	for _, q := range cpuRatios {
		for _, clients := range clientCounts[1:] {
			c := r.connections.cpu(q.ours, clients).over(r.connections.cpu(q.other, clients))
			writeRatio(t, fmt.Sprintf("CPU of a connection, %d clients", clients), q, c, true)
		}
	}
	for _, q := range rateRatios {
		for _, clients := range clientCounts[1:] {
			wanted := q.ratio
			if clients == 16 {
				wanted.bound = q.at16
			}
			c := r.connections.rate(q.ours, clients).over(r.connections.rate(q.other, clients))
			writeRatio(t, fmt.Sprintf("connections/s, %d clients", clients), wanted, c, false)
		}
	}
	for _, q := range transferRatios {
		c := r.transfers.of(q.move, q.ours, 1).cpu.over(r.transfers.of(q.move, q.other, 1).cpu)
		writeRatio(t, "CPU of a GiB, "+q.move, q.ratio, c, true)
	}
	r.writeMemoryRatios(t)
	r.writeDifferences(t)
}

func writeRatio(t *strings.Builder, what string, q ratio, c series, most bool) {
	if len(c) == 0 {
		return
	}
	verdict, word := "met", "at least"
	if most {
		word = "at most"
	}
	if most && c.median() > q.bound || !most && c.median() < q.bound {
		verdict = "not met"
	}
	fmt.Fprintf(t, "| %s | %s | %s %.2f | %s | %s |\n", what, q.what, word, q.bound, c.spread("%.2f"), verdict)
}

// writeMemoryRatios compares what is in use.
func (r *results) writeMemoryRatios(t *strings.Builder) {
	of := func(name string) (m idleMemory) {
		for _, m := range r.idle {
			if m.name == name {
				return m
			}
		}
		return m
	}
	base := of(theirs)
	for _, name := range []string{goes, stays, "ours, postgres"} {
		m := of(name)
		if base.opened.live == 0 || m.opened.live == 0 {
			continue
		}
		q := ratio{what: name + ", against implicit TLS in caddy-l4", bound: 1}
		writeRatio(t, "memory of an idle session, as opened", q, series{float64(m.opened.live) / float64(base.opened.live)}, true)
		writeRatio(t, "memory of an idle session, after traffic", q, series{float64(m.used.live) / float64(base.used.live)}, true)
	}
}

// What a session of ours may cost above another one's: in objects that are allocated, and in KiB of a negotiation that stalls.
const (
	mostObjects = 30
	mostStalled = 10
)

// writeDifferences compares what is a difference rather than a ratio.
func (r *results) writeDifferences(t *strings.Builder) {
	row := func(what, whose string, most int, measured float64) {
		verdict := "met"
		if measured > float64(most) {
			verdict = "not met"
		}
		fmt.Fprintf(t, "| %s | %s | at most %d | %.1f | %s |\n", what, whose, most, measured, verdict)
	}
	objects := map[string]float64{}
	for _, a := range r.allocations {
		objects[a.name] = a.objects
	}
	if objects[goes] > 0 && objects[theirs] > 0 {
		row("allocations of a connection", "smtp, above implicit TLS in caddy-l4", mostObjects, objects[goes]-objects[theirs])
	}
	stalled := map[string]float64{}
	for _, m := range r.stalled {
		stalled[m.name] = float64(m.each.live) / 1024
	}
	if stalled[goes] > 0 && stalled[idles] > 0 {
		row("KiB of a negotiation that stalls", "smtp, above a handler that does nothing", mostStalled, stalled[goes]-stalled[idles])
	}
}
