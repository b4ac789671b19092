package upgrade

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A patience bounds how long a write to the client may wait for a client that neither
// reads nor says anything. It is in force while a filter is in place: what such a client
// has pending is bounded, and so is the time for which it may have that pending.
type patience struct {
	on    atomic.Bool
	heard atomic.Uint64 // times that the client has said something

	mu sync.Mutex
	by time.Time // the deadline that the caller has set
}

// patienceStep is how often a write that waits is looked after.
const patienceStep = stallLimit / 6

// writeRaw writes below TLS. A write that makes progress is never cut.
func (c *Conn) writeRaw(p []byte) (n int, err error) {
	last, heard := time.Now(), c.patience.heard.Load()
	for c.patience.on.Load() {
		if err := c.armWrite(); err != nil {
			return n, err
		}
		k, err := c.raw.Write(p[n:])
		n += k
		if now := c.patience.heard.Load(); k > 0 || now != heard {
			last, heard = time.Now(), now
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(last) >= stallLimit || c.patience.over() {
			return n, err
		}
	}
	k, err := c.raw.Write(p[n:])
	return n + k, err
}

// armWrite sets the deadline of the next step. Holding mu keeps it from undoing one that
// the caller sets meanwhile, and from setting one when the bound has ended.
func (c *Conn) armWrite() error {
	c.patience.mu.Lock()
	defer c.patience.mu.Unlock()
	return c.raw.SetWriteDeadline(c.patience.next())
}

// next is when the write is to be looked after, or the caller's deadline alone; the caller
// holds mu.
func (p *patience) next() time.Time {
	if !p.on.Load() {
		return p.by
	}
	by := time.Now().Add(patienceStep)
	if !p.by.IsZero() && p.by.Before(by) {
		return p.by
	}
	return by
}

// over reports whether the caller's deadline has passed.
func (p *patience) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.by.IsZero() && !time.Now().Before(p.by)
}

// begin puts the bound in force.
func (p *patience) begin() { p.on.Store(true) }

// endPatience leaves writing to the caller's deadline alone.
func (c *Conn) endPatience() {
	c.patience.mu.Lock()
	defer c.patience.mu.Unlock()
	if c.patience.on.Swap(false) {
		_ = c.raw.SetWriteDeadline(c.patience.by)
	}
}

// setWriteDeadline sets the caller's deadline. It leaves the bound in force.
func (c *Conn) setWriteDeadline(t time.Time) error {
	c.patience.mu.Lock()
	defer c.patience.mu.Unlock()
	c.patience.by = t
	return c.raw.SetWriteDeadline(c.patience.next())
}
