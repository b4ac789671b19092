package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// crowd is how many clients stall at once. Each costs two descriptors here, since
// client and server are one process.
const crowd = 2000

// A stall is a client that stops, in mid-negotiation or after the go-ahead.
type stall struct {
	*peer
	err error
}

// A client that stops costs its time and no more, and does no harm to others.
func TestStalledClientsAreGoneAfterTheirTime(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.timeout = 8 * time.Second // for all of them to be there at once
	}
	trust := serve(t, sites...).trust()
	warmUp(t, trust, sites)
	before := measure(t)
	stalls := make([]*stall, crowd)
	eachOf(stalls, func(i int) {
		s := sites[i%len(sites)]
		stalls[i] = new(stall)
		if stalls[i].peer, stalls[i].err = s.dial(trust); stalls[i].err == nil {
			stalls[i].err = stalls[i].run(s.stalling(i / len(sites) % 3))
		}
	})
	for i, s := range stalls {
		require.NoError(t, s.err, "client %d, %s", i, sites[i%len(sites)].protocol)
	}
	during := measure(t)
	t.Logf("%d stalled clients: %s, before: %s", crowd, during, before)
	for _, s := range sites {
		require.NoError(t, s.requireUpgraded(t, trust, step{}).raw.Close(), s.protocol)
	}
	eachOf(stalls, func(i int) { stalls[i].err = stalls[i].expectClose() })
	for i, s := range stalls {
		require.NoError(t, s.err, "client %d, %s", i, sites[i%len(sites)].protocol)
		_ = s.raw.Close()
	}
	requireBack(t, before)
}

// warmUp uses all sites once, for what stays for good.
func warmUp(t *testing.T, trust *tls.Config, sites []*site) {
	t.Helper()
	for _, s := range sites {
		require.NoError(t, s.requireUpgraded(t, trust, step{}).raw.Close())
		require.NoError(t, s.backend.await())
	}
	time.Sleep(settle)
}

// stalling is how far a client goes that will stop: not at all, half way through
// its request, or up to the handshake.
func (s *site) stalling(how int) []step {
	c := s.talk
	switch how {
	case 0:
		return nil
	case 1:
		return append(append([]step{}, c.greet...), step{SendText: c.request[:len(c.request)/2]})
	}
	return append(c.ask(), step{SendHex: "16030102"})
}

// eachOf does something with all clients, many of them at a time.
func eachOf(stalls []*stall, do func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range 200 {
		all.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range stalls {
		next <- i
	}
	close(next)
	all.Wait()
}

// A usage is what the process holds.
type usage struct {
	goroutines, descriptors int
	memory                  uint64 // heap and stacks
	objects                 uint64 // in the heap, without the gaps between them, which the most at a time leaves
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB, %d KiB of them objects", u.goroutines, u.descriptors, u.memory>>10, u.objects>>10)
}

func measure(t testing.TB) usage {
	t.Helper()
	debug.FreeOSMemory()
	return holds()
}

// holds is how much the process holds, garbage included.
func holds() usage {
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	descriptors, _ := os.ReadDir("/proc/self/fd")
	return usage{runtime.NumGoroutine(), len(descriptors), memory.HeapInuse + memory.StackInuse, memory.HeapAlloc}
}

// requireBack waits until the process holds no more than before.
func requireBack(t testing.TB, before usage) {
	t.Helper()
	requireBackWithin(t, before, patience)
}

// requireBackWithin is requireBack where something may take longer.
func requireBackWithin(t testing.TB, before usage, limit time.Duration) {
	t.Helper()
	var now usage
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		now = measure(t)
		if now.goroutines <= before.goroutines && now.descriptors <= before.descriptors {
			t.Logf("afterwards: %s", now)
			return
		}
	}
	require.Failf(t, "something is left", "%s, before: %s\n%s", now, before, stacks().stacks)
}

// The limits are those of the way into TLS. What follows has none.
func TestSessionsOutliveTheLimits(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.timeout = 2 * time.Second
	}
	trust := serve(t, sites...).trust()
	peers := make([]*peer, len(sites))
	for i, s := range sites {
		peers[i] = s.requireUpgraded(t, trust, step{})
	}
	time.Sleep(sites[0].timeout + settle)
	for i, s := range sites {
		require.NoError(t, s.again(peers[i]), s.protocol)
	}
}

// A client learns of it in both ways: a session without close_notify may have been cut
// short, and one without an end of the connection below leaves it hanging.
func TestClientLearnsThatTheBackendHasEnded(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	trust := serve(t, sites...).trust()
	for _, s := range sites {
		p := s.requireUpgraded(t, trust, step{})
		require.NoError(t, s.backend.hangUp())
		require.NoError(t, p.raw.SetReadDeadline(time.Now().Add(patience)))
		_, err := io.Copy(io.Discard, p.tls)
		require.NoError(t, err, s.protocol)
		_, err = p.raw.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, s.protocol)
		require.NoError(t, p.raw.Close())
		require.NoError(t, s.backend.await(), s.protocol)
	}
}

// Whatever way a session ends, nothing of it stays behind.
func TestEndedSessionsLeaveNothingBehind(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	trust := serve(t, sites...).trust()
	endings := map[string][]step{
		"close":        {{Close: true}},
		"close_notify": {{CloseNotify: true}, {ExpectClose: true}, {Close: true}},
		"reset":        {{Reset: true}},
	}
	warmUp(t, trust, sites)
	for ending, script := range endings {
		before := measure(t)
		for _, s := range sites {
			p, err := s.upgraded(trust, step{})
			require.NoError(t, err)
			require.NoError(t, p.run(script), "%s with %s", s.protocol, ending)
			require.NoError(t, s.backend.await(), "%s with %s", s.protocol, ending)
			early, err := s.dial(trust)
			require.NoError(t, err)
			require.NoError(t, early.run(append(s.talk.ask(), step{Reset: true})))
		}
		requireBack(t, before)
	}
}
