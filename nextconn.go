package l4starttls

import (
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/internal/bufpipe"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const (
	// nextTimeout is how long the next handler has for coming to its end, once its
	// connection has ended. It needs longer only if the upstream never closes.
	nextTimeout = 5 * time.Second

	// endTimeout is how long one side may go on once the other has ended or failed.
	endTimeout = 30 * time.Second
)

// A nextConn is the connection to the upstream, as the next handler makes it.
type nextConn struct {
	ours *bufpipe.Conn // the end that we hold
	done chan struct{}
	err  error // of the next handler, once it is done
}

// startNext has the next handler run on a connection of its own, which shares all but
// the bytes of cx, from which those that were prefetched have been taken.
func startNext(cx *layer4.Connection, next layer4.Handler) *nextConn {
	ours, its := bufpipe.New(cx)
	inner := cx.Wrap(its)
	n := &nextConn{ours: ours, done: make(chan struct{})}
	go func() {
		n.err = next.Handle(inner)
		_ = its.Close()
		close(n.done)
	}()
	return n
}

// cause finds out why the connection has failed. If its end has come from the next
// handler, that may know better: it could not reach the upstream.
func (n *nextConn) cause(err error) error {
	ends := []error{io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, upgrade.ErrTruncated}
	ended := slices.ContainsFunc(ends, func(end error) bool { return errors.Is(err, end) })
	if ended && n.end() && n.err != nil {
		return n.err
	}
	return err
}

// end ends the connection, and reports whether the next handler has ended in good time,
// too.
func (n *nextConn) end() bool {
	_ = n.ours.Close()
	select {
	case <-n.done:
		return true
	case <-time.After(nextTimeout):
		return false
	}
}

// wait ends the connection and waits for the next handler, which may read from a
// buffer that is reused once we have returned. The client does not wait with us.
func (n *nextConn) wait(cx *layer4.Connection) {
	if !n.end() {
		cx.Logger.Warn("upstream does not end its connection, waiting for that",
			zap.String("remote", cx.RemoteAddr().String()))
		_ = base(cx).Close()
		<-n.done
	}
}

// closeWriter is a connection that can be ended in one direction.
type closeWriter interface {
	net.Conn
	CloseWrite() error
}

// join passes both directions on until both have ended; up is what has been made of
// the next handler's connection. An end goes on as an end. A failure, such as a truncated
// TLS stream, ends both without close_notify, so that it cannot be taken for an end.
func (n *nextConn) join(down, up closeWriter) {
	upward, downward := make(chan error, 1), make(chan error, 1)
	go func() { upward <- pass(up, down) }()
	go func() { downward <- pass(down, up) }()
	for range 2 {
		select {
		case err := <-upward:
			if err != nil {
				_ = n.ours.CloseWrite()
				_ = n.ours.SetReadDeadline(time.Now().Add(endTimeout))
				_ = down.SetWriteDeadline(time.Now().Add(endTimeout))
			}
		case err := <-downward:
			_ = down.SetReadDeadline(time.Now().Add(endTimeout))
			_ = n.ours.SetWriteDeadline(time.Now().Add(endTimeout))
			if err != nil {
				// A next handler that cannot write does not read either: what the client
				// has said last may never have room.
				_ = n.ours.SetWriteDeadline(time.Now().Add(nextTimeout))
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
		case *layer4.Connection:
			conn = c.Conn
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return conn
		}
	}
}
