package bench

import (
	"cmp"
	"runtime"
	"testing"
)

// BenchmarkUpgrade is what a session costs up to its first command and the answer:
// negotiation, handshake and join, and what the client and the backend have to do for
// it. The first is what TLS alone costs.
func BenchmarkUpgrade(b *testing.B) {
	k := newSecrets(b)
	for _, o := range openings {
		b.Run(cmp.Or(o.name, "tls"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.open(b, o).close(b)
			}
		})
	}
}

// idle is how many sessions there are in BenchmarkIdleSession.
const idle = 2000

// BenchmarkIdleSession is the memory of a session that has moved a mail of 512 KiB and
// some replies, and now waits. The client's and the backend's ends are included, which
// are those of "tls", too.
func BenchmarkIdleSession(b *testing.B) {
	k := newSecrets(b)
	for _, w := range smtpWays {
		b.Run(w.name, func(b *testing.B) {
			for b.Loop() {
				before := used()
				sessions := make([]*session, idle)
				for i := range sessions {
					sessions[i] = w.open(b, k)
					sessions[i].mailUp(b, 512<<10)
					sessions[i].repliesDown(b, 1)
				}
				b.ReportMetric(float64(used()-before)/idle/1024, "KiB/session")
				for _, s := range sessions {
					s.close(b)
				}
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// used is the memory that is in use, for data and for stacks.
func used() int64 {
	runtime.GC()
	runtime.GC() // what the first has left to pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
