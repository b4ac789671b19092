package integration_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// killers is how many clients there are at any time. Each has one session after another.
const killers = 96

// killTime is how long TestRandomKills goes on: KILLS, such as 10m.
func killTime(t testing.TB) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(cmp.Or(os.Getenv("KILLS"), "5s"))
	require.NoError(t, err)
	return d
}

// killSeed decides who stops where and how: KILLS_SEED, or any. What else happens
// meanwhile is up to the clock.
func killSeed(t testing.TB) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(cmp.Or(os.Getenv("KILLS_SEED"), strconv.FormatUint(rand.Uint64(), 10)), 10, 64)
	require.NoError(t, err)
	return seed
}

// Wherever clients and backends stop, in whatever way, and while configurations come and
// go: whoever waits comes to an end, and nothing is left.
func TestRandomKills(t *testing.T) {
	seed := killSeed(t)
	t.Logf("KILLS_SEED=%d", seed)
	f := newFigures()
	stages := newStages(t, f, seed)
	c := startCaddy(t, stageServers(stages, killTimes))
	c.awaitCertificates("mail.example.com", "example.org")
	k := &killing{stages: stages, figures: f, seed: seed}
	k.run(2*time.Second, func() { c.load(c.caddyfile(stageServers(stages, killTimes))) })
	k.requireEnded(t)
	time.Sleep(2 * settle) // for what stays for good
	before := measure(t)
	f.reset()
	k.run(killTime(t), func() {
		times := killTimes
		times.negotiation += time.Duration(f.count("reloads")%2) * time.Millisecond
		c.load(c.caddyfile(stageServers(stages, times)))
		f.add("reloads")
	})
	t.Logf("%s\nbefore: %s\nmost: %s", f, before, f.most())
	k.requireEnded(t)
	requireBack(t, before)
	require.NotZero(t, f.count("reloads"))
	f.requireEverywhere(t)
}

// requireEverywhere requires that sides have stopped wherever they can, if there were enough
// of them.
func (f *figures) requireEverywhere(t testing.TB) {
	t.Helper()
	if f.count("sessions") < 1000 {
		return
	}
	all := f.String()
	for _, where := range tlsStops {
		require.Contains(t, all, "client "+where)
	}
	for _, where := range backendStops {
		if where != nowhere {
			require.Contains(t, all, "backend "+where)
		}
	}
}

// A killing is the work of all clients, for a time.
type killing struct {
	stages   []*stage
	figures  *figures
	seed     uint64
	sessions atomic.Uint64
}

// run has clients come and go for a time, and the configuration with them.
func (k *killing) run(d time.Duration, reload func()) {
	k.figures.keepBusy(d, killers, k.seed, func() { k.session(k.sessions.Add(1)) }, reload)
}

// keepBusy has so many clients have one session after another for a time, while reloads come
// every few seconds.
func (f *figures) keepBusy(d time.Duration, clients int, seed uint64, session, reload func()) {
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for time.Now().Before(end) {
				session()
			}
		})
	}
	all.Go(func() {
		for time.Now().Before(end) {
			f.watch()
			time.Sleep(100 * time.Millisecond)
		}
	})
	r := rand.New(rand.NewPCG(seed, 0))
	for {
		time.Sleep(min(time.Second+time.Duration(r.IntN(3000))*time.Millisecond, time.Until(end)))
		if !time.Now().Before(end) {
			break
		}
		reload()
	}
	all.Wait()
}

// session has one client come and go.
func (k *killing) session(number uint64) {
	r := rand.New(rand.NewPCG(k.seed, number))
	s := k.stages[r.IntN(len(k.stages))]
	k.figures.add("sessions")
	if err := s.visit(r, k.figures); err != nil {
		k.figures.fail(fmt.Errorf("session %d, %s: %w", number, s, err))
	}
}

// requireEnded requires that all clients have seen an answer or an end wherever they have
// waited for one, and that all connections to backends have ended.
func (k *killing) requireEnded(t testing.TB) {
	t.Helper()
	for _, err := range k.figures.failures() {
		require.NoError(t, err)
	}
	for _, s := range k.stages {
		require.Eventually(t, func() bool { return s.backend.open.Load() == 0 }, patience, 10*time.Millisecond,
			"connections to the backend of %s are still open", s)
	}
}

// figures are what a run has come to.
type figures struct {
	mu     sync.Mutex
	counts map[string]int
	errs   []error
	peak   usage // the most that there was of each
}

func newFigures() *figures { return &figures{counts: make(map[string]int)} }

func (f *figures) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts, f.peak = make(map[string]int), usage{}
}

func (f *figures) add(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what]++
}

func (f *figures) count(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[what]
}

// maxFailures is how many are kept: one is enough to fail, and some to see what they have
// in common.
const maxFailures = 20

func (f *figures) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) < maxFailures {
		f.errs = append(f.errs, err)
	}
}

func (f *figures) failures() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.errs)
}

// watch notes how much the process holds.
func (f *figures) watch() {
	now := holds()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peak.goroutines = max(f.peak.goroutines, now.goroutines)
	f.peak.descriptors = max(f.peak.descriptors, now.descriptors)
	f.peak.memory = max(f.peak.memory, now.memory)
	f.peak.objects = max(f.peak.objects, now.objects)
}

func (f *figures) most() usage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.peak
}

func (f *figures) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(f.counts)) {
		lines = append(lines, fmt.Sprintf("%7d %s", f.counts[what], what))
	}
	return strings.Join(lines, "\n")
}
