package l4starttls

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const (
	// legTimeout is how long the next handler has for coming to its end, once its
	// connection has ended. It needs longer only if the upstream never closes.
	legTimeout = 5 * time.Second

	// endTimeout is how long one side may go on once the other has ended or failed.
	endTimeout = 30 * time.Second
)

// A leg is the connection to the upstream, as the next handler makes it.
type leg struct {
	near *pipeEnd // what we hold of it
	done chan struct{}
	err  error // of the next handler, once it is done
}

// newLeg has the next handler run on a connection of its own, which shares all but
// the bytes of the client's.
func newLeg(down *lowerConn, next layer4.Handler) *leg {
	near, far := newPipe(down)
	inner := down.Wrap(far) // down has taken what was in the buffer
	l := &leg{near: near, done: make(chan struct{})}
	go func() {
		l.err = next.Handle(inner)
		_ = far.Close()
		close(l.done)
	}()
	return l
}

// cause finds out why the connection has failed. If its end has come from the next
// handler, that may know better: it could not reach the upstream.
func (l *leg) cause(err error) error {
	ends := []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, upgrade.ErrTruncated}
	ended := slices.ContainsFunc(ends, func(end error) bool { return errors.Is(err, end) })
	if ended && l.end() && l.err != nil {
		return l.err
	}
	return err
}

// end ends the connection, and tells whether the next handler has ended in good time,
// too.
func (l *leg) end() bool {
	_ = l.near.Close()
	select {
	case <-l.done:
		return true
	case <-time.After(legTimeout):
		return false
	}
}

// wait ends the connection and waits for the next handler, which may read from a
// buffer that is reused once we have returned. The client does not wait with us.
func (l *leg) wait(down *lowerConn) {
	if !l.end() {
		down.Logger.Warn("upstream does not end its connection, waiting for that",
			zap.String("remote", down.RemoteAddr().String()))
		_ = base(down).Close()
		<-l.done
	}
}

// closeWriter is a connection that can be ended in one direction.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// join passes both directions on until both have ended; up is what has been made of
// the leg. An end goes on as an end. A failure, such as a truncated TLS stream, ends
// both without close_notify, so that it cannot be taken for an end.
func (l *leg) join(down, up closeWriter) {
	upward, downward := make(chan error, 1), make(chan error, 1)
	go func() { upward <- pass(up, down) }()
	go func() { downward <- pass(down, up) }()
	for range 2 {
		select {
		case err := <-upward:
			if err != nil {
				_ = l.near.CloseWrite()
				_ = l.near.SetReadDeadline(time.Now().Add(endTimeout))
				_ = down.SetWriteDeadline(time.Now().Add(endTimeout))
			}
		case err := <-downward:
			_ = down.SetReadDeadline(time.Now().Add(endTimeout))
			_ = l.near.SetWriteDeadline(time.Now().Add(endTimeout))
			if err != nil {
				endAbruptly(down)
			}
		}
	}
}

// pass copies until the end, and passes that on.
func pass(to, from closeWriter) error {
	if _, err := io.Copy(to, from); err != nil {
		return err
	}
	return to.CloseWrite()
}

// endAbruptly ends the connection below all TLS, and soon. What the client has yet
// to read is not taken from it.
func endAbruptly(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now())
	if below, ok := base(conn).(closeWriter); ok {
		_ = below.CloseWrite()
	}
}

// base is the connection below all TLS.
func base(conn net.Conn) net.Conn {
	for {
		switch c := conn.(type) {
		case *lowerConn:
			conn = c.Conn
		case *layer4.Connection:
			conn = c.Conn
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return conn
		}
	}
}
