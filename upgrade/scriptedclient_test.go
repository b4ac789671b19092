package upgrade

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A scriptedClient is the client's connection.
type scriptedClient struct {
	net.Conn
	chunk int

	mu       sync.Mutex
	more     *sync.Cond
	toRead   []byte
	atEnd    bool
	expired  bool
	got      []byte
	gotClose bool
}

func newScriptedClient(chunk int) *scriptedClient {
	c := &scriptedClient{chunk: chunk}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *scriptedClient) say(data []byte, end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.toRead = append(c.toRead, data...)
	c.atEnd = c.atEnd || end
	c.more.Broadcast()
}

func (c *scriptedClient) take() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, end := string(c.got), c.gotClose
	c.got, c.gotClose = nil, false
	return got, end
}

func (c *scriptedClient) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.toRead) == 0 && !c.atEnd && !c.expired {
		c.more.Wait()
	}
	switch {
	case c.expired:
		return 0, os.ErrDeadlineExceeded
	case len(c.toRead) == 0:
		return 0, io.EOF
	case c.chunk > 0 && len(p) > c.chunk:
		p = p[:c.chunk]
	}
	n := copy(p, c.toRead)
	c.toRead = c.toRead[n:]
	return n, nil
}

func (c *scriptedClient) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, p...)
	return len(p), nil
}

func (c *scriptedClient) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gotClose = true
	return nil
}

// SetReadDeadline makes a Read return that waits, if the deadline has passed.
func (c *scriptedClient) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = !t.IsZero() && !t.After(time.Now())
	c.more.Broadcast()
	return nil
}

func (c *scriptedClient) SetWriteDeadline(time.Time) error { return nil }
func (c *scriptedClient) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
