package l4starttls

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mholt/caddy-l4/layer4"
	"github.com/pires/go-proxyproto"
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
// TLS stream, is a failure for the other side, too: over TLS it is an end without
// close_notify, in plaintext a reset, and an error for the next handler to read.
func (n *nextConn) join(down, up closeWriter) {
	upward, downward := make(chan error, 1), make(chan error, 1)
	go func() { upward <- pass(up, down) }()
	go func() { downward <- pass(down, up) }()
	for range 2 {
		select {
		case err := <-upward:
			if err != nil {
				_ = n.ours.Fail(err)
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
				cutOff := errors.As(err, new(readError))
				if joined, ok := down.(*upgrade.Joined); ok && cutOff {
					joined.BackendFailed(err)
				}
				endAbruptly(down, cutOff)
			}
		}
	}
}

// A copyBuffer is what pass copies with.
type copyBuffer [32 << 10]byte

// copyBuffers are those of sessions that are over, for the next ones.
var copyBuffers = sync.Pool{New: func() any { return new(copyBuffer) }}

// pass copies until the end, and passes that on.
func pass(to, from closeWriter) error {
	buf := copyBuffers.Get().(*copyBuffer)
	_, err := io.CopyBuffer(to, failingReader{from}, buf[:])
	copyBuffers.Put(buf)
	if err != nil {
		return err
	}
	return to.CloseWrite()
}

// A failingReader marks the errors of what it reads from.
type failingReader struct{ io.Reader }

// Read implements io.Reader.
func (r failingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && err != io.EOF { // as io.Copy asks
		err = readError{err}
	}
	return n, err
}

// A readError is one of reading, where there is writing, too.
type readError struct{ error }

// Unwrap returns the error itself.
func (r readError) Unwrap() error { return r.error }

// endAbruptly ends the connection, and soon, in a way that is no proper end. Below TLS that
// is an end, which takes nothing from the client that it has yet to read. In plaintext it is
// a reset, when whoever has accepted the connection closes it, if what the client is told is
// cut off.
func endAbruptly(conn net.Conn, cutOff bool) {
	_ = conn.SetReadDeadline(time.Now())
	below := base(conn)
	if linger, ok := below.(interface{ SetLinger(sec int) error }); ok && cutOff && !secured(conn) {
		_ = linger.SetLinger(0)
		return
	}
	if half, ok := below.(closeWriter); ok {
		_ = half.CloseWrite()
	}
}

// secured reports whether there is TLS on a connection, whoever does it.
func secured(conn net.Conn) bool {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			return true
		case *upgrade.Conn:
			if _, ok := c.TLSConnectionState(); ok {
				return true
			}
		}
		below := lower(conn)
		if below == nil {
			return false
		}
		conn = below
	}
}

// base is the connection below all TLS.
func base(conn net.Conn) net.Conn {
	for {
		below := lower(conn)
		if below == nil {
			return conn
		}
		conn = below
	}
}

// lower is the connection right below another, or nil.
func lower(conn net.Conn) net.Conn {
	switch c := conn.(type) {
	case *layer4.Connection:
		return c.Conn
	case interface{ NetConn() net.Conn }:
		return c.NetConn()
	case *proxyproto.Conn:
		return c.Raw()
	}
	return nil
}
