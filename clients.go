package l4starttls

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
	"time"
)

// maxAway bounds how many clients are remembered that have no connection at the moment.
const maxAway = 1 << 16

// clientLimits are those of what a client may do at once, and in a time. They remember the
// clients of one handler: those that have connections, and for `upgrades` those that have
// had some lately, of which there are maxAway at the most. The one that has left longest ago
// is forgotten first. They are as new after a reload.
type clientLimits struct {
	atOnce   int // negotiations; 0 for any number
	upgrades int // in the time; 0 for any number
	per      time.Duration
	except   []netip.Prefix
	now      func() time.Time

	mu    sync.Mutex
	known map[netip.Addr]*client
	away  *list.List // clients without connections, the one that has left longest ago first
}

// A client is who has an address.
type client struct {
	network     netip.Addr
	negotiating int
	refused     int           // connections that are told that they are too many
	rested      time.Time     // from then on it may have all its upgrades at once
	place       *list.Element // among those that are away, or nil
}

// newClientLimits makes those that limits ask for, or nil.
func newClientLimits(l *Limits) *clientLimits {
	if l == nil || l.PerAddress == 0 && l.upgrades == 0 {
		return nil
	}
	return &clientLimits{
		atOnce: l.PerAddress, upgrades: l.upgrades, per: l.per, except: l.except, now: time.Now,
		known: make(map[netip.Addr]*client), away: list.New(),
	}
}

// network is what a client is known by: its IPv4 address, or the first 64 bits of its IPv6
// address, of which one client may have all the others. ok is false for who is not counted.
func (l *clientLimits) network(addr net.Addr) (network netip.Addr, ok bool) {
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Addr{}, false // no address of the internet, as that of a Unix socket
	}
	ip := ap.Addr().Unmap().WithZone("")
	for _, prefix := range l.except {
		if prefix.Contains(ip) {
			return netip.Addr{}, false
		}
	}
	if ip.Is4() {
		return ip, true
	}
	prefix, err := ip.Prefix(64)
	return prefix.Addr(), err == nil
}

// A seat is a connection's place among those of its client. A nil seat is of no client that
// is counted.
type seat struct {
	limits  *clientLimits
	client  *client
	refused bool // the client has too many
	untold  bool // and too many that are being told so

	left bool // guarded by limits.mu
}

// enter counts a connection that begins to negotiate. It is counted until it leaves.
func (l *clientLimits) enter(addr net.Addr) *seat {
	if l == nil {
		return nil
	}
	network, ok := l.network(addr)
	if !ok {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.meet(network)
	s := &seat{limits: l, client: c, refused: l.atOnce > 0 && c.negotiating >= l.atOnce}
	if s.refused {
		s.untold = c.refused >= l.atOnce
		c.refused++
	} else {
		c.negotiating++
	}
	return s
}

// admitted reports whether the connection may negotiate.
func (s *seat) admitted() bool { return s == nil || !s.refused }

// negotiated ends the counting of a connection whose negotiation is over.
func (s *seat) negotiated() {
	if s.admitted() {
		s.leave()
	}
}

// leave ends the counting of a connection.
func (s *seat) leave() {
	if s == nil {
		return
	}
	l := s.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case s.left:
		return
	case s.refused:
		s.client.refused--
	default:
		s.client.negotiating--
	}
	s.left = true
	l.settle(s.client)
}

// admitUpgrade counts an upgrade that a client asks for, unless it has had too many: those
// that it may have come back one after the other, each in its share of the time.
func (l *clientLimits) admitUpgrade(addr net.Addr) bool {
	network, ok := l.network(addr)
	if !ok {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c, now := l.meet(network), l.now()
	defer l.settle(c)
	rested := c.rested
	if rested.Before(now) {
		rested = now
	}
	share := l.per / time.Duration(l.upgrades)
	rested = rested.Add(share)
	if rested.Sub(now) > share*time.Duration(l.upgrades) {
		return false
	}
	c.rested = rested
	return true
}

// meet returns a client that is here now; the caller holds mu.
func (l *clientLimits) meet(network netip.Addr) *client {
	c := l.known[network]
	switch {
	case c == nil:
		c = &client{network: network}
		l.known[network] = c
	case c.place != nil:
		l.away.Remove(c.place)
		c.place = nil
	}
	return c
}

// settle remembers a client that has no connection any more for as long as it matters, and
// forgets those for whom that time is over, or there is no room; the caller holds mu.
func (l *clientLimits) settle(c *client) {
	now := l.now()
	switch {
	case c.negotiating+c.refused > 0:
		return
	case c.rested.After(now):
		c.place = l.away.PushBack(c)
	default:
		delete(l.known, c.network)
	}
	for first := l.away.Front(); first != nil; first = l.away.Front() {
		oldest := first.Value.(*client)
		if oldest.rested.After(now) && l.away.Len() <= maxAway {
			return
		}
		l.away.Remove(first)
		delete(l.known, oldest.network)
	}
}
