package upgrade

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A memConn is one end of a connection in memory. It has room for everything, or for so
// much, ends in one direction at a time, and keeps deadlines. Under synctest its time is
// the bubble's.
type memConn struct {
	in, out *memLane
}

// memPair makes the two ends.
func memPair() (a, b *memConn) { return tightPair(0) }

// tightPair is memPair with room for so many octets each way.
func tightPair(room int) (a, b *memConn) {
	left, right := newMemLane(), newMemLane()
	left.room, right.room = room, room
	return &memConn{in: left, out: right}, &memConn{in: right, out: left}
}

// A memLane is one direction of it.
type memLane struct {
	mu     sync.Mutex
	change *sync.Cond
	data   []byte
	most   int // octets that one Read yields; 0: any number
	room   int // octets that wait to be read; 0: any number
	taken  int // octets that have been written in all
	ended  bool
	closed bool // by the reader

	reading, writing memDeadline
}

// A memDeadline is that of one end.
type memDeadline struct {
	expired bool
	timer   *time.Timer
}

func newMemLane() *memLane {
	l := new(memLane)
	l.change = sync.NewCond(&l.mu)
	return l
}

func (l *memLane) read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.data) == 0 && !l.ended && !l.closed && !l.reading.expired {
		l.change.Wait()
	}
	switch {
	case l.closed:
		return 0, net.ErrClosed
	case l.reading.expired:
		return 0, os.ErrDeadlineExceeded
	case len(l.data) == 0:
		return 0, io.EOF
	case l.most > 0 && len(p) > l.most:
		p = p[:l.most]
	}
	n := copy(p, l.data)
	l.data = l.data[n:]
	l.change.Broadcast()
	return n, nil
}

func (l *memLane) write(p []byte) (n int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch full := l.room > 0 && len(l.data) >= l.room; {
		case l.ended || l.closed:
			return n, io.ErrClosedPipe
		case l.writing.expired:
			return n, os.ErrDeadlineExceeded
		case full:
			l.change.Wait()
			continue
		}
		k := len(p) - n
		if l.room > 0 {
			k = min(k, l.room-len(l.data))
		}
		l.data = append(l.data, p[n:n+k]...)
		l.taken += k
		l.change.Broadcast()
		if n += k; n == len(p) {
			return n, nil
		}
	}
}

// set changes what a waiting Read goes by.
func (l *memLane) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.change.Broadcast()
}

func (l *memLane) setDeadline(d *memDeadline, t time.Time) {
	l.set(func() {
		if d.timer != nil {
			d.timer.Stop()
		}
		d.expired = !t.IsZero() && !t.After(time.Now())
		if !t.IsZero() && !d.expired {
			d.begin(l, t)
		}
	})
}

// begin has the deadline expire, unless another one is set before.
func (d *memDeadline) begin(l *memLane, t time.Time) {
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		l.set(func() { d.expired = d.expired || d.timer == timer })
	})
	d.timer = timer
}

// unread is how much has been written and not read.
func (l *memLane) unread() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.data)
}

// take yields what waits to be read, without waiting for it.
func (l *memLane) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	data := string(l.data)
	l.data = nil
	l.change.Broadcast()
	return data
}

// all is how much has been written.
func (l *memLane) all() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }

func (c *memConn) CloseWrite() error {
	c.out.set(func() { c.out.ended = true })
	return nil
}

func (c *memConn) Close() error {
	c.in.set(func() { c.in.closed = true })
	return c.CloseWrite()
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.reading, t)
	return nil
}

func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writing, t)
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (*memConn) LocalAddr() net.Addr  { return new(net.TCPAddr) }
func (*memConn) RemoteAddr() net.Addr { return new(net.TCPAddr) }
