package l4starttls

import (
	"errors"
	"io"
	"net"
	"time"
)

// A pipeEnd is one end of a connection that does not leave the process. Unlike
// net.Pipe, it can be ended in one direction alone. It goes by the addresses of the
// client that it is there for.
type pipeEnd struct {
	net.Conn // to read from, and for the addresses that nobody asks for
	out      net.Conn
	client   net.Conn
}

// newPipe makes both ends. A Write waits for its Reads.
func newPipe(client net.Conn) (near, far *pipeEnd) {
	upIn, upOut := net.Pipe()
	downIn, downOut := net.Pipe()
	return &pipeEnd{downIn, upOut, client}, &pipeEnd{upIn, downOut, client}
}

// Write implements net.Conn.
func (p *pipeEnd) Write(b []byte) (int, error) { return p.out.Write(b) }

// CloseWrite ends our direction.
func (p *pipeEnd) CloseWrite() error { return p.out.Close() }

// Close ends both directions.
func (p *pipeEnd) Close() error { return errors.Join(p.Conn.Close(), p.out.Close()) }

// LocalAddr returns the address that the client has connected to.
func (p *pipeEnd) LocalAddr() net.Addr { return p.client.LocalAddr() }

// RemoteAddr returns the client's address.
func (p *pipeEnd) RemoteAddr() net.Addr { return p.client.RemoteAddr() }

// SetDeadline sets both deadlines.
func (p *pipeEnd) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read.
func (p *pipeEnd) SetReadDeadline(t time.Time) error { return unlessEnded(p.Conn.SetReadDeadline(t)) }

// SetWriteDeadline sets the deadline of Write.
func (p *pipeEnd) SetWriteDeadline(t time.Time) error { return unlessEnded(p.out.SetWriteDeadline(t)) }

// unlessEnded lets a deadline be set after the end, as on other connections: the end
// is for the next Read to find.
func unlessEnded(err error) error {
	if errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
