package bench

import (
	"bufio"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var mebibytes = flag.Int("mib", 512, "size of a transfer")

// patience bounds a transfer, and any other wait.
const patience = 2 * time.Minute

// A way is how Caddy reaches the server.
type way struct {
	name, address string
	greeted       bool
}

// A result is what has come of one kind of transfer, turn by turn.
type result struct {
	rates []float64 // MiB/s
	costs []float64 // CPU seconds per GiB
}

// BenchmarkUpstream compares the ways by turns, so that whatever else the machine
// does meanwhile hits them all.
func BenchmarkUpstream(b *testing.B) {
	s := newServer(b)
	caddy, ways := startCaddy(b, s)
	for _, w := range ways {
		for _, up := range []bool{true, false} {
			transfer(b, w, up, 8<<20) // for what is done but once
		}
	}
	results := map[string]*result{}
	b.SetBytes(int64(*mebibytes) << 20 * int64(2*len(ways)))
	for b.Loop() {
		for _, up := range []bool{true, false} {
			for _, w := range ways {
				r := results[key(w, up)]
				if r == nil {
					r = new(result)
					results[key(w, up)] = r
				}
				before, start := caddy.cpuTime(b), time.Now()
				transfer(b, w, up, *mebibytes<<20)
				r.rates = append(r.rates, float64(*mebibytes)/time.Since(start).Seconds())
				r.costs = append(r.costs, (caddy.cpuTime(b)-before).Seconds()*1024/float64(*mebibytes))
			}
		}
	}
	b.Log("\n" + table(ways, results))
}

func key(w way, up bool) string { return w.name + direction(up) }

func direction(up bool) string {
	if up {
		return "to upstream"
	}
	return "to downstream"
}

// table has the medians of all turns, and how they compare with TLS by `proxy`.
func table(ways []way, results map[string]*result) string {
	var t strings.Builder
	fmt.Fprintf(&t, "%-14s %-28s %8s %6s %8s %6s\n", "direction", "way", "MiB/s", "ratio", "CPU s/GiB", "ratio")
	for _, up := range []bool{true, false} {
		base := results[key(ways[1], up)]
		for _, w := range ways {
			r := results[key(w, up)]
			fmt.Fprintf(&t, "%-14s %-28s %8.0f %6.2f %9.2f %6.2f   %.0f, %.2f\n", direction(up), w.name,
				median(r.rates), median(r.rates)/median(base.rates), median(r.costs), median(r.costs)/median(base.costs), r.rates, r.costs)
		}
	}
	return t.String()
}

func median(values []float64) float64 {
	values = slices.Clone(values)
	slices.Sort(values)
	return values[len(values)/2]
}

// What a client begins with: which way the bytes go, and how many.
const (
	toUpstream   = 'U'
	toDownstream = 'D'
)

// transfer moves so many bytes through Caddy, and makes sure that all have arrived.
func transfer(b *testing.B, w way, up bool, size int) {
	b.Helper()
	conn, err := net.DialTimeout("tcp", w.address, patience)
	require.NoError(b, err)
	defer func() { _ = conn.Close() }()
	require.NoError(b, conn.SetDeadline(time.Now().Add(patience)))
	r := bufio.NewReader(conn)
	if w.greeted {
		_, err := r.ReadString('\n')
		require.NoError(b, err)
	}
	kind := byte(toDownstream)
	if up {
		kind = toUpstream
	}
	_, err = conn.Write(binary.BigEndian.AppendUint64([]byte{kind}, uint64(size)))
	require.NoError(b, err)
	if up {
		require.NoError(b, pour(conn, size))
		_, err = r.ReadByte() // the server has it all
	} else {
		_, err = io.CopyN(discard{}, r, int64(size))
	}
	require.NoError(b, err)
}

// noise is what is sent.
var noise = func() []byte {
	p := make([]byte, 1<<20)
	for i := range p {
		p[i] = byte(rand.Uint32())
	}
	return p
}()

func pour(to io.Writer, size int) error {
	for size > 0 {
		n, err := to.Write(noise[:min(size, len(noise))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

// discard has no ReadFrom of its own, as io.Discard has, with a small buffer.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
