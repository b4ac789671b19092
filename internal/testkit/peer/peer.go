// Package peer has the connection of a client whom a test plays.
package peer

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Conn is a client's connection as whoever serves it has it: without a limit to what
// can be written, and with deadlines for reading. It works inside a synctest bubble.
type Conn struct {
	cut int // octets that a Read yields at the most; 0: all there are

	mu       sync.Mutex
	more     sync.Cond
	said     []byte
	heard    []byte
	taken    int  // of what was heard
	ended    bool // by the client
	left     bool // by whoever serves it
	closed   bool
	deadline time.Time
}

// New makes a client whose words arrive in pieces of cut octets.
func New(cut int) *Conn {
	c := &Conn{cut: cut}
	c.more.L = &c.mu
	return c
}

// Say adds to what the client says.
func (c *Conn) Say(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.said = append(c.said, text...)
	c.more.Broadcast()
}

// End ends what the client says.
func (c *Conn) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.more.Broadcast()
}

// Heard is what the client has been told so far.
func (c *Conn) Heard() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.heard)
}

// Take is what the client has been told since Take was called last, and whether the other
// half has been ended since.
func (c *Conn) Take() (heard string, ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	heard, ended = string(c.heard[c.taken:]), c.left
	c.taken, c.left = len(c.heard), false
	return heard, ended
}

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case !c.deadline.IsZero() && !time.Now().Before(c.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(c.said) > 0:
			if c.cut > 0 {
				p = p[:min(c.cut, len(p))]
			}
			n := copy(p, c.said)
			c.said = c.said[n:]
			return n, nil
		case c.ended:
			return 0, io.EOF
		}
		c.more.Wait()
	}
}

// Buffered is how much of what the client has said a host would have read ahead.
func (c *Conn) Buffered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.said)
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	c.heard = append(c.heard, p...)
	return len(p), nil
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.more.Broadcast()
	return nil
}

// CloseWrite ends the half on which the client hears.
func (c *Conn) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		time.AfterFunc(wait, func() { c.Say("") })
	}
	c.more.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn; nothing waits to be written.
func (*Conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// LocalAddr implements net.Conn.
func (*Conn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

// RemoteAddr implements net.Conn.
func (*Conn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 2} }

var _ net.Conn = (*Conn)(nil)
