package main

import (
	"fmt"
	"strings"
)

// writeConnections has a row for each proxy and number of clients.
func (r *results) writeConnections(t *strings.Builder) {
	if len(r.connections) == 0 {
		return
	}
	t.WriteString("## Connections\n\nCPU is that of the proxy for 1,000 connections, in seconds. Latencies are from connecting to the backend's first answer inside TLS, in milliseconds.\n\n")
	t.WriteString("| | clients | connections/s | CPU s | p50 | p90 | p99 |\n|---|---|---|---|---|---|---|\n")
	for _, target := range r.lab.of("c") {
		for _, clients := range clientCounts {
			c := r.connections.of(target.name, clients)
			fmt.Fprintf(t, "| %s | %d | %s | %s | %.2f | %.2f | %.2f |\n", target.name, clients,
				c.rate.spread("%.0f"), c.cpu.spread("%.2f"), c.percentile(0.5), c.percentile(0.9), c.percentile(0.99))
		}
	}
	t.WriteByte('\n')
}

// writeTransfers has a table for each kind of transfer.
func (r *results) writeTransfers(t *strings.Builder) {
	if len(r.transfers) == 0 {
		return
	}
	t.WriteString("## Transfers\n\nCPU is that of the proxy for a GiB, in seconds.\n\n")
	t.WriteString("| | | streams | MiB/s | CPU s |\n|---|---|---|---|---|\n")
	for _, m := range moves {
		for _, target := range r.lab.of("t") {
			for _, streams := range streamCounts {
				if s := r.transfers.of(m.name, target.name, streams); len(s.rate) > 0 {
					fmt.Fprintf(t, "| %s | %s | %d | %s | %s |\n", m.title, target.name, streams, s.rate.spread("%.0f"), s.cpu.spread("%.2f"))
				}
			}
		}
	}
	t.WriteByte('\n')
}

func (r *results) writeAllocations(t *strings.Builder) {
	if len(r.allocations) == 0 {
		return
	}
	t.WriteString("## Allocations\n\nWhat Caddy allocates for a connection, from its beginning to its end.\n\n| | allocations | KiB |\n|---|---|---|\n")
	for _, a := range r.allocations {
		fmt.Fprintf(t, "| %s | %.1f | %.1f |\n", a.name, a.objects, a.bytes/1024)
	}
	t.WriteByte('\n')
}

func kib(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", float64(n)/1024)
}

func (r *results) writeMemory(t *strings.Builder) {
	if len(r.idle) > 0 {
		fmt.Fprintf(t, "## Memory\n\nKiB of each of %d sessions that wait, as they are opened and when each has moved some: heap and stacks in use of Go programs "+
			"once garbage is collected, and memory that is resident and not shared.\n\n", r.settings.idle)
		t.WriteString("| | opened, in use | opened, resident | after traffic, in use | after traffic, resident |\n|---|---|---|---|---|\n")
		for _, m := range r.idle {
			fmt.Fprintf(t, "| %s | %s | %s | %s | %s |\n", m.name, kib(m.opened.live), kib(m.opened.resident), kib(m.used.live), kib(m.used.resident))
		}
		t.WriteByte('\n')
	}
	if len(r.stalled) > 0 {
		fmt.Fprintf(t, "KiB of each of %d clients that say nothing.\n\n| | in use | resident |\n|---|---|---|\n", r.settings.stalled)
		for _, m := range r.stalled {
			fmt.Fprintf(t, "| %s | %s | %s |\n", m.name, kib(m.each.live), kib(m.each.resident))
		}
		t.WriteByte('\n')
	}
}
