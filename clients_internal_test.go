package l4starttls

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// clientsOf makes the limits of a configuration, with a clock of their own.
func clientsOf(t testing.TB, l *Limits) (*clientLimits, *time.Time) {
	t.Helper()
	require.NoError(t, l.check(0))
	clients, now := newClientLimits(l), time.Now()
	clients.now = func() time.Time { return now }
	return clients, &now
}

func tcp(ip string) net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 1))
}

// Who is one client, and who is none that is counted.
func TestClientsAreNetworks(t *testing.T) {
	l, _ := clientsOf(t, &Limits{PerAddress: 1, Except: []string{"10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7", "::ffff:198.51.100.0/120"}})
	for ip, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "192.0.2.2": "192.0.2.2",
		"2001:db8::1": "2001:db8::", "2001:db8::ffff:1:2:3": "2001:db8::", "2001:db8:0:1::1": "2001:db8:0:1::",
		"fe80::1%eth0": "fe80::", "fe80::2%eth1": "fe80::",
		"10.1.2.3": "", "::ffff:10.1.2.3": "", "2001:db8:1:2::3": "", "192.0.2.7": "", "198.51.100.9": "",
	} {
		network, ok := l.network(tcp(ip))
		require.Equal(t, want != "", ok, ip)
		if ok {
			require.Equal(t, want, network.String(), ip)
		}
	}
	for _, addr := range []net.Addr{&net.UnixAddr{Net: "unix"}, &net.UnixAddr{Name: "@", Net: "unix"}} {
		_, ok := l.network(addr)
		require.False(t, ok, addr)
		require.True(t, l.enter(addr).admitted())
	}
}

// A client has so many at once, and others have theirs. One that has too many is told so
// as often, and what has left counts no more.
func TestConnectionsAtOnce(t *testing.T) {
	l, _ := clientsOf(t, &Limits{PerAddress: 2})
	var seats []*seat
	for i, want := range []struct{ admitted, untold bool }{{true, false}, {true, false}, {false, false}, {false, false}, {false, true}} {
		s := l.enter(tcp(fmt.Sprintf("2001:db8::%d", i)))
		require.Equal(t, want.admitted, s.admitted(), i)
		require.Equal(t, want.untold, s.untold, i)
		seats = append(seats, s)
	}
	other := l.enter(tcp("2001:db8:0:1::1"))
	require.True(t, other.admitted())
	for range 2 { // once is enough
		seats[0].negotiated()
		seats[2].negotiated() // it is still being told
		seats[0].leave()
	}
	next := l.enter(tcp("2001:db8::9"))
	require.True(t, next.admitted())
	require.False(t, l.enter(tcp("2001:db8::8")).admitted())
	for _, s := range append(seats, next, other) {
		s.leave()
	}
	require.Len(t, l.known, 1, "but for the last one, which is still being told")
}

// Nobody is remembered who has left, where nothing depends on it.
func TestClientsThatHaveLeft(t *testing.T) {
	for _, limits := range []*Limits{{PerAddress: 2}, {Upgrades: "3/1m"}, {PerAddress: 2, Upgrades: "3/1m"}} {
		l, now := clientsOf(t, limits)
		for i := range 1000 {
			addr := tcp(fmt.Sprintf("192.0.%d.%d", i/250, i%250))
			s := l.enter(addr)
			if limits.Upgrades != "" {
				require.True(t, l.admitUpgrade(addr))
			}
			s.negotiated()
			s.leave()
		}
		if limits.Upgrades != "" {
			require.Len(t, l.known, 1000)
			*now = now.Add(20 * time.Second)
			l.enter(tcp("10.0.0.1")).leave()
		}
		require.Empty(t, l.known)
		require.Zero(t, l.away.Len())
	}
}

// A client may have so many upgrades at once, then one in each share of the time, and all
// of them once it has rested.
func TestUpgradesInATime(t *testing.T) {
	l, now := clientsOf(t, &Limits{Upgrades: "3/1m"})
	upgrades := func() (n int) {
		for l.admitUpgrade(tcp("192.0.2.1")) {
			n++
		}
		return n
	}
	require.Equal(t, 3, upgrades())
	require.True(t, l.admitUpgrade(tcp("192.0.2.2")), "another client")
	*now = now.Add(19 * time.Second)
	require.Zero(t, upgrades(), "and asking costs nothing")
	*now = now.Add(time.Second)
	require.Equal(t, 1, upgrades())
	*now = now.Add(41 * time.Second)
	require.Equal(t, 2, upgrades())
	*now = now.Add(time.Hour)
	require.Equal(t, 3, upgrades())
	s := l.enter(tcp("192.0.2.1")) // a connection changes nothing
	require.Zero(t, upgrades())
	s.leave()
	require.Zero(t, upgrades())
}

// Whatever number of addresses there is, memory has a bound. The ones that have left
// longest ago are forgotten.
func TestClientsHaveABound(t *testing.T) {
	l, _ := clientsOf(t, &Limits{PerAddress: 9, Upgrades: "1/1h"})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	stays := l.enter(tcp("192.0.2.1"))
	require.True(t, l.admitUpgrade(tcp("192.0.2.1")))
	for i := range 3 * maxAway {
		addr := tcp(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))
		s := l.enter(addr)
		require.True(t, l.admitUpgrade(addr))
		s.leave()
	}
	require.Len(t, l.known, maxAway+1)
	cost := heap() - before
	t.Logf("%d clients cost %d KiB", maxAway, cost>>10)
	require.Less(t, cost, uint64(32<<20))
	require.True(t, l.admitUpgrade(tcp("2001:db8::1")), "the first has been forgotten")
	require.False(t, l.admitUpgrade(tcp(fmt.Sprintf("2001:db8:2:%x::1", maxAway-1))), "the last has not")
	require.False(t, l.admitUpgrade(tcp("192.0.2.1")), "nor has one that is still here")
	stays.leave()
}

// No limits count nobody.
func TestNobodyIsCounted(t *testing.T) {
	for _, l := range []*Limits{nil, {}, {Message: 600}} {
		clients := newClientLimits(l)
		require.Nil(t, clients)
		s := clients.enter(tcp("192.0.2.1"))
		require.True(t, s.admitted())
		s.negotiated()
		s.leave()
	}
}
