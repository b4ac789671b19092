package integration_test

import (
	"io"
	"net"
)

// Ways of a backend to take a flood.
var listeners = map[string]func(*floodStage, backendEnd) net.Conn{
	"answers": func(_ *floodStage, end backendEnd) net.Conn { return end.Conn },
	"listens": func(s *floodStage, end backendEnd) net.Conn { return &tiredConn{end, 3, -1, s.over} },
	"is deaf": func(s *floodStage, end backendEnd) net.Conn { return &tiredConn{end, 3, 3, s.over} },
}

// A tiredConn says no more after some answers, and does not read after some reads until
// the test is over. Both count once the session has been used: in how many pieces that comes
// is nobody's choice.
type tiredConn struct {
	backendEnd
	answers, reads int
	over           chan struct{}
}

// tires reports whether it counts yet.
func (c *tiredConn) tires() bool {
	select {
	case <-c.used:
		return true
	default:
		return false
	}
}

// Write drops what is too much.
func (c *tiredConn) Write(p []byte) (int, error) {
	switch {
	case !c.tires():
	case c.answers == 0:
		return len(p), nil
	default:
		c.answers--
	}
	return c.Conn.Write(p)
}

// Read waits when it has read enough.
func (c *tiredConn) Read(p []byte) (int, error) {
	switch {
	case !c.tires():
	case c.reads == 0:
		<-c.over
		return 0, io.EOF
	default:
		c.reads--
	}
	return c.Conn.Read(p)
}
