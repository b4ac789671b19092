package dialogue

import "fmt"

// CancelRequest ends the negotiation of a client that asks for nothing but an end of what
// goes on in another of its sessions, by the message that was read last. The backend gets
// that message in plaintext, under either policy, and nothing else of this client, which gets
// no answer and sees an end when the backend has ended. What is there behind the message is
// ErrPipelined. It counts as an upgrade, since it costs as much.
//
// Where nobody joins the client to a backend, and it may not stay in plaintext, it is ErrQuit.
func (s *Session) CancelRequest() error {
	switch {
	case s.Pipelined():
		return fmt.Errorf("%w: a request to cancel is all that its client may send, %w", ErrPipelined, ErrQuit)
	case !s.opts.Joined && !s.opts.Optional:
		return ErrQuit
	case s.opts.AdmitUpgrade != nil && !s.opts.AdmitUpgrade():
		s.limited = true
		return fmt.Errorf("%w, %w", ErrTooManyUpgrades, ErrQuit)
	}
	s.buf = s.last
	s.cleartext, s.cancelRequest = true, true
	return ErrCleartext
}

// A cancelRequest is the filter of such a client.
type cancelRequest struct{ left int }

// NewCancelRequest makes the filter of a client whose CancelRequest has so many octets.
func NewCancelRequest(size int) Filter { return &cancelRequest{left: size} }

// Start implements Filter.
func (*cancelRequest) Start(*Exchange) {}

// FromClient implements Filter. Whoever sends such a request waits for the end of the
// connection, which says that it has been heard: so it must not come before the backend's.
func (f *cancelRequest) FromClient(x *Exchange, b []byte) int {
	n := min(f.left, len(b))
	x.ToBackend(b[:n])
	if f.left -= n; f.left == 0 {
		x.StopReading()
		x.Hold()
	}
	return n
}

// FromBackend implements Filter. There is no answer to such a request: who has one was not
// asked for an end, or will not come to one.
func (*cancelRequest) FromBackend(x *Exchange, b []byte) int {
	x.Close(nil)
	return len(b)
}

// BackendEnded implements BackendEnder.
func (*cancelRequest) BackendEnded(x *Exchange) { x.Close(nil) }

// ErrorReply has no words for its client.
func (*cancelRequest) ErrorReply(error) []byte { return nil }
