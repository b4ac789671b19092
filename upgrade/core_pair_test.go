package upgrade

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A memConn is one end of a connection in memory. It has room for everything, ends
// in one direction at a time, and keeps read deadlines. Under synctest its time is
// the bubble's.
type memConn struct {
	in, out *memLane
}

// memPair makes the two ends.
func memPair() (a, b *memConn) {
	left, right := newMemLane(), newMemLane()
	return &memConn{in: left, out: right}, &memConn{in: right, out: left}
}

// A memLane is one direction of it.
type memLane struct {
	mu      sync.Mutex
	change  *sync.Cond
	data    []byte
	most    int // octets that one Read yields; 0: any number
	ended   bool
	closed  bool // by the reader
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
	for len(l.data) == 0 && !l.ended && !l.closed && !l.expired {
		l.change.Wait()
	}
	switch {
	case l.closed:
		return 0, net.ErrClosed
	case l.expired:
		return 0, os.ErrDeadlineExceeded
	case len(l.data) == 0:
		return 0, io.EOF
	case l.most > 0 && len(p) > l.most:
		p = p[:l.most]
	}
	n := copy(p, l.data)
	l.data = l.data[n:]
	return n, nil
}

func (l *memLane) write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.closed {
		return 0, io.ErrClosedPipe
	}
	l.data = append(l.data, p...)
	l.change.Broadcast()
	return len(p), nil
}

// set changes what a waiting Read goes by.
func (l *memLane) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.change.Broadcast()
}

func (l *memLane) setDeadline(t time.Time) {
	l.set(func() {
		if l.timer != nil {
			l.timer.Stop()
		}
		l.expired = !t.IsZero() && !t.After(time.Now())
		if !t.IsZero() && !l.expired {
			l.timer = time.AfterFunc(time.Until(t), func() { l.set(func() { l.expired = true }) })
		}
	})
}

// unread is how much has been written and not read.
func (l *memLane) unread() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.data)
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
	c.in.setDeadline(t)
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error  { return c.SetReadDeadline(t) }
func (*memConn) SetWriteDeadline(time.Time) error { return nil } // a Write never waits
func (*memConn) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (*memConn) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
