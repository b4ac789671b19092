// Package bufpipe has a connection that does not leave the process. Unlike net.Pipe it has
// room for some of what is on the way, so that a writer need not wait for the reader.
package bufpipe

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// A Conn is one end of a connection that does not leave the process. Like one that
// does, it has room for some of what is on the way, and can be ended in one direction
// alone. It goes by the addresses of the client that it is there for.
type Conn struct {
	in, out *stream
	client  net.Conn
}

// New makes both ends, which go by the addresses of client.
func New(client net.Conn) (near, far *Conn) {
	up, down := newStream(), newStream()
	return &Conn{down, up, client}, &Conn{up, down, client}
}

// Read implements net.Conn.
func (p *Conn) Read(b []byte) (int, error) { return p.in.read(b) }

// Write implements net.Conn.
func (p *Conn) Write(b []byte) (int, error) { return p.out.write(b) }

// CloseWrite ends our direction. What is on the way still arrives.
func (p *Conn) CloseWrite() error { return p.out.end(io.EOF) }

// Fail ends our direction for a reason that is no proper end. What is on the way still
// arrives, and behind it the reader has the reason for an error.
func (p *Conn) Fail(why error) error { return p.out.end(why) }

// Close ends both directions.
func (p *Conn) Close() error { return errors.Join(p.out.end(io.EOF), p.in.end(io.ErrClosedPipe)) }

// Abort ends both directions, ours for a reason, so that the other end does not take what has
// arrived for everything.
func (p *Conn) Abort(why error) error {
	return errors.Join(p.out.end(why), p.in.end(io.ErrClosedPipe))
}

// LocalAddr returns the address that the client has connected to.
func (p *Conn) LocalAddr() net.Addr { return p.client.LocalAddr() }

// RemoteAddr returns the client's address.
func (p *Conn) RemoteAddr() net.Addr { return p.client.RemoteAddr() }

// SetDeadline sets both deadlines.
func (p *Conn) SetDeadline(t time.Time) error {
	return errors.Join(p.SetReadDeadline(t), p.SetWriteDeadline(t))
}

// SetReadDeadline sets the deadline of Read.
func (p *Conn) SetReadDeadline(t time.Time) error { return p.in.setDeadline(&p.in.readBy, t) }

// SetWriteDeadline sets the deadline of Write.
func (p *Conn) SetWriteDeadline(t time.Time) error { return p.out.setDeadline(&p.out.writeBy, t) }

// streamSize is how much is on the way in one direction at the most.
const streamSize = 64 << 10

// streamBuffers are those of streams with something on the way: most sessions are
// idle most of the time.
var streamBuffers = sync.Pool{New: func() any { return new([streamSize]byte) }}

// A stream is one direction.
type stream struct {
	writing sync.Mutex // one Write at a time

	mu              sync.Mutex
	changed         sync.Cond
	buf             *[streamSize]byte // nil if nothing is on the way
	begin, size     int               // of what is on the way; it wraps around
	ended           error             // what a Read finds at the end
	readBy, writeBy streamDeadline
}

type streamDeadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *streamDeadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newStream() *stream {
	s := new(stream)
	s.changed.L = &s.mu
	return s
}

func (s *stream) read(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.ended == io.ErrClosedPipe: //nolint:errorlint // our own
			return 0, s.ended
		case s.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case s.size > 0 || len(p) == 0:
			return s.take(p), nil
		case s.ended != nil:
			return 0, s.ended
		}
		s.changed.Wait()
	}
}

// take copies what is on the way; the caller holds mu.
func (s *stream) take(p []byte) (n int) {
	for len(p) > n && s.size > 0 {
		k := copy(p[n:], s.buf[s.begin:min(s.begin+s.size, streamSize)])
		n += k
		s.size -= k
		s.begin = (s.begin + k) % streamSize
	}
	s.release()
	s.changed.Broadcast()
	return n
}

// release gives back a buffer that is empty; the caller holds mu.
func (s *stream) release() {
	if s.size == 0 && s.buf != nil {
		streamBuffers.Put(s.buf)
		s.buf, s.begin = nil, 0
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.ended != nil:
			return n, io.ErrClosedPipe
		case s.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case n == len(p):
			return n, nil
		case s.size < streamSize:
			n += s.put(p[n:])
			continue
		}
		s.changed.Wait()
	}
}

// put sends some of p on its way; the caller holds mu.
func (s *stream) put(p []byte) (n int) {
	if s.buf == nil {
		s.buf = streamBuffers.Get().(*[streamSize]byte)
	}
	for len(p) > n && s.size < streamSize {
		end := (s.begin + s.size) % streamSize
		k := copy(s.buf[end:min(end+streamSize-s.size, streamSize)], p[n:])
		n += k
		s.size += k
	}
	s.changed.Broadcast()
	return n
}

// end ends the stream: with io.EOF or a failure for its writer, with io.ErrClosedPipe for its
// reader, who wants none of what is on the way.
func (s *stream) end(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended == nil || why == io.ErrClosedPipe { //nolint:errorlint // our own
		s.ended = why
	}
	if why == io.ErrClosedPipe { //nolint:errorlint // our own
		s.size = 0
		s.release()
	}
	s.changed.Broadcast()
	return nil
}

func (s *stream) setDeadline(d *streamDeadline, t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	d.at = t
	switch { // a timer that wakes nobody does no harm
	case !t.IsZero() && d.timer == nil:
		d.timer = time.AfterFunc(time.Until(t), s.wake)
	case !t.IsZero():
		d.timer.Reset(time.Until(t))
	case d.timer != nil:
		d.timer.Stop()
	}
	s.changed.Broadcast()
	return nil
}

func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}
