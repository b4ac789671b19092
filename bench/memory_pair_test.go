package bench

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A memConn is one end of a connection in memory, with as much room for each direction
// as a socket has. One that is idle keeps no memory for it.
type memConn struct{ in, out *memLane }

func memPair() (a, b *memConn) {
	left, right := newMemLane(), newMemLane()
	return &memConn{left, right}, &memConn{right, left}
}

// room is that of a memLane, in octets.
const room = 64 << 10

var rooms = sync.Pool{New: func() any { return new([room]byte) }}

// A memLane is one direction, a ring of octets.
type memLane struct {
	mu                     sync.Mutex
	change                 *sync.Cond
	ring                   *[room]byte // nil while there is nothing in it
	start, size            int
	ended, closed, expired bool
}

func newMemLane() *memLane {
	l := new(memLane)
	l.change = sync.NewCond(&l.mu)
	return l
}

func (l *memLane) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.size == 0 && !l.ended && !l.closed && !l.expired {
		l.change.Wait()
	}
	switch {
	case l.closed:
		return 0, net.ErrClosed
	case l.expired:
		return 0, os.ErrDeadlineExceeded
	case l.size == 0:
		return 0, io.EOF
	}
	n := copy(p, l.ring[l.start:min(room, l.start+l.size)])
	l.start, l.size = (l.start+n)%room, l.size-n
	if l.size == 0 {
		rooms.Put(l.ring)
		l.ring, l.start = nil, 0
	}
	l.change.Broadcast()
	return n, nil
}

func (l *memLane) Write(p []byte) (written int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for written < len(p) {
		for l.size == room && !l.ended && !l.closed {
			l.change.Wait()
		}
		if l.ended || l.closed {
			return written, io.ErrClosedPipe
		}
		if l.ring == nil {
			l.ring = rooms.Get().(*[room]byte)
		}
		end := (l.start + l.size) % room
		n := copy(l.ring[end:min(room, end+room-l.size)], p[written:])
		l.size += n
		written += n
		l.change.Broadcast()
	}
	return written, nil
}

func (l *memLane) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	l.change.Broadcast()
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.Read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.Write(p) }

func (c *memConn) CloseWrite() error {
	c.out.set(func() { c.out.ended = true })
	return nil
}

func (c *memConn) Close() error {
	c.in.set(func() { c.in.closed = true })
	return c.CloseWrite()
}

// SetReadDeadline knows only whether the deadline has passed: nothing here runs long
// enough for one that has not.
func (c *memConn) SetReadDeadline(t time.Time) error {
	expired := !t.IsZero() && !t.After(time.Now())
	c.in.set(func() { c.in.expired = expired })
	return nil
}

func (c *memConn) SetDeadline(t time.Time) error  { return c.SetReadDeadline(t) }
func (*memConn) SetWriteDeadline(time.Time) error { return nil }
func (*memConn) LocalAddr() net.Addr              { return new(net.TCPAddr) }
func (*memConn) RemoteAddr() net.Addr             { return new(net.TCPAddr) }
