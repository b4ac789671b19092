package integration_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"
)

// loadClients is how many clients there are at any time. Each has one session after another.
const loadClients = 128

// loadHeap is how much more may be in the heap at the end: what is pooled, and kept of sessions to resume. A minute
// has some twenty thousand sessions, so that half a KiB of each would be too much.
const loadHeap = 8 << 20

// loadTime is how long TestLoadWithReloads goes on: LOAD, such as 30m.
func loadTime(t testing.TB) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv("LOAD"), "5s"))
	require.NoError(t, err)
	return d
}

// Sessions of all protocols, in both directions, while the configuration is loaded again
// every few seconds, leave nothing behind, and the metrics are what the clients and the
// backends have counted themselves.
func TestLoadWithReloads(t *testing.T) {
	l := newLoad(t)
	l.run(2*time.Second, t.Logf) // for what stays for good
	l.requireIdle()
	time.Sleep(2 * settle)
	before, counters := measure(t), gather(t)
	l.reset()
	l.run(loadTime(t), t.Logf)
	l.requireIdle()
	most := l.figures.most()
	requireBack(t, before)
	after := measure(t)
	t.Logf("%s\n%d sessions, %d of them not accepted because of a reload\nbefore: %s\nmost: %s\nafter: %s",
		l.figures, l.sessions.Load(), l.figures.count("not accepted"), before, most, after)
	require.Less(t, int64(after.objects)-int64(before.objects), int64(loadHeap), "octets of objects")
	l.requireCounted(counters)
	require.NotZero(t, l.figures.count("reloads"))
}

// A load is the work of all clients.
type load struct {
	t        *testing.T
	caddy    *instance
	stages   []*loadStage
	turns    []stageTurn
	figures  *figures
	reloads  atomic.Int64 // odd while there is one
	sessions atomic.Int64

	mu       sync.Mutex
	outcomes map[string]float64 // what there should be, by the name and the labels of a counter
}

// A stageTurn is a turn on a stage.
type stageTurn struct {
	stage *loadStage
	turn  turn
}

func newLoad(t *testing.T) *load {
	t.Helper()
	l := &load{t: t, stages: newLoadStages(t), figures: newFigures(), outcomes: make(map[string]float64)}
	for _, s := range l.stages {
		for _, turn := range s.turns {
			l.turns = append(l.turns, stageTurn{s, turn})
		}
	}
	l.caddy = startCaddy(t, loadServers(l.stages, 0))
	l.caddy.awaitCertificates("mail.example.com", "example.org")
	return l
}

// reset begins anew to count.
func (l *load) reset() {
	l.figures.reset()
	l.outcomes = make(map[string]float64)
	l.sessions.Store(0)
	for _, s := range l.stages {
		for _, side := range []*traffic{&s.client, &s.between, &s.atEnd} {
			side.up.Store(0)
			side.down.Store(0)
		}
	}
}

// run has clients come and go for a time, and the configuration with them. It says once a
// minute how it stands.
func (l *load) run(d time.Duration, logf func(string, ...any)) {
	begun, said := time.Now(), 0
	session := func() {
		number := l.sessions.Add(1)
		l.session(l.turns[int(number)%len(l.turns)])
	}
	l.figures.keepBusy(d, loadClients, 1, session, func() {
		l.reload()
		if minutes := int(time.Since(begun).Minutes()); minutes > said {
			said = minutes
			logf("%d min: %d sessions, %d reloads, %s", minutes, l.sessions.Load(), l.figures.count("reloads"), holds())
		}
	})
}

func (l *load) reload() {
	l.reloads.Add(1)
	defer l.reloads.Add(1)
	n := l.figures.count("reloads")
	if err := caddy.Load(l.caddy.adapt(l.caddy.caddyfile(loadServers(l.stages, n+1))), true); err != nil {
		l.figures.fail(fmt.Errorf("reload %d: %w", n, err))
	}
	l.figures.add("reloads")
}

// session has one client come and go, and counts what has to come of it. A listener that is
// closed resets connections that it has not accepted: they are no sessions. That is the case if
// nothing was heard on them, and there was a reload.
func (l *load) session(s stageTurn) {
	reloads := l.reloads.Load()
	raw, err := s.stage.session(s.turn)
	notAccepted := raw == nil || raw.heard == 0 && raw.reset
	switch {
	case notAccepted && (reloads%2 == 1 || l.reloads.Load() != reloads):
		l.figures.add("not accepted")
		return
	case err == nil && notAccepted:
		err = errors.New("reset without a word")
	}
	if err != nil {
		l.figures.fail(fmt.Errorf("%s %s: %w", s.stage.stage, s.turn.name, err))
		return
	}
	l.figures.add(s.stage.name + " " + s.turn.name)
	l.mu.Lock()
	defer l.mu.Unlock()
	for handler, outcome := range s.turn.outcomes {
		l.outcomes[counterName(handler, "negotiations_total", "outcome", outcome, "protocol", s.stage.proto.Name)]++
	}
}

// requireIdle requires that all clients had what they should have, and that nothing is left of
// their sessions.
func (l *load) requireIdle() {
	l.t.Helper()
	for _, err := range l.figures.failures() {
		require.NoError(l.t, err)
	}
	for _, s := range l.stages {
		require.Eventually(l.t, func() bool { return s.backend.open.Load() == 0 }, patience, 10*time.Millisecond,
			"connections to the backend of %s are still open", s)
	}
	inFlight := func() (left []string) {
		for name, value := range gather(l.t) {
			if strings.Contains(name, "sessions_in_flight") && value != 0 {
				left = append(left, fmt.Sprintf("%s %v", name, value))
			}
		}
		return left
	}
	require.Eventually(l.t, func() bool {
		runtime.GC()
		return len(inFlight()) == 0
	}, patience, 50*time.Millisecond, "%q", inFlight())
}

// requireCounted requires that the counters have gone up by what clients and backends have
// counted, and that no other has.
func (l *load) requireCounted(before map[string]float64) {
	l.t.Helper()
	want, now := l.expected(), gather(l.t)
	sums := make(map[string]float64)
	var wrong []string
	for name, value := range now {
		if !strings.Contains(name, "negotiations_total") && !strings.Contains(name, "bytes_total") {
			continue
		}
		if more := value - before[name]; more != want[name] {
			wrong = append(wrong, fmt.Sprintf("%s has gone up by %.0f, not by %.0f", name, more, want[name]))
		}
		if more := value - before[name]; more != 0 {
			sum, _, _ := strings.Cut(name, ` "protocol"`)
			sums[sum+"]"] += more
		}
		delete(want, name)
	}
	for _, sum := range slices.Sorted(maps.Keys(sums)) {
		l.t.Logf("%12.0f %s", sums[sum], sum)
	}
	require.Empty(l.t, wrong)
	require.Empty(l.t, want, "counters that there are not")
}

// expected is by how much the counters should have gone up.
func (l *load) expected() map[string]float64 {
	want := maps.Clone(l.outcomes)
	for _, s := range l.stages {
		for _, handler := range []string{"starttls", "starttls_upstream"} {
			sum := s.expected(handler)
			if sum == nil {
				continue
			}
			for direction, octets := range map[string]uint64{"up": sum.up.Load(), "down": sum.down.Load()} {
				want[counterName(handler, "bytes_total", "direction", direction, "protocol", s.proto.Name)] += float64(octets)
			}
		}
	}
	return want
}

// counterName is the name of a counter with its labels, which are by turns a name and a value.
func counterName(handler, name string, labels ...string) string {
	return fmt.Sprintf("caddy_layer4_%s_%s%q", handler, name, labels)
}

// gather has all counters and gauges of the two handlers, as counterName names them.
func gather(t testing.TB) map[string]float64 {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	require.NoError(t, err)
	all := make(map[string]float64)
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "caddy_layer4_starttls") {
			continue
		}
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() { // sorted by name
				labels = append(labels, label.GetName(), label.GetValue())
			}
			all[fmt.Sprintf("%s%q", family.GetName(), labels)] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	return all
}
