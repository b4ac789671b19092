package dialoguetest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A script plays the other side of a dialogue without goroutines: it yields the bytes of a
// step only when all before it has been written, exactly as scripted.
type script struct {
	steps   []Step
	peer    byte // who is played here
	chunk   int  // bytes a Read yields at the most; 0: all there are
	begun   bool // the present step of the peer has been read in part
	upgrade bool // the dialogue ends with the upgrade
	due     int  // writes that are left for the present step of our side
	problem error
}

// newScript plays the peer of a role.
func newScript(p *upgrade.Protocol, d *Dialogue, client bool, chunk int) *script {
	s := &script{peer: 'C', chunk: chunk, upgrade: d.outcome == "upgraded", due: 1}
	if client {
		s.peer = 'S'
	}
	for _, step := range d.Steps {
		s.steps = append(s.steps, Step{Who: step.Who, Data: bytes.Clone(step.Data), lines: step.lines})
	}
	if s.upgrade && !client {
		s.steps = append(s.steps, Step{Who: 'C', Data: []byte{p.FirstOfTLS()}})
	}
	return s
}

func (s *script) off(format string, args ...any) error {
	s.problem = fmt.Errorf("off the script: "+format, args...)
	return s.problem
}

// unsaid returns what our side was to say and has not said.
func (s *script) unsaid() []byte {
	for _, step := range s.steps {
		if step.Who != s.peer && len(step.Data) > 0 {
			return step.Data
		}
	}
	return nil
}

func (s *script) next() *Step {
	for len(s.steps) > 0 && len(s.steps[0].Data) == 0 {
		s.steps = s.steps[1:]
	}
	if len(s.steps) == 0 {
		return nil
	}
	return &s.steps[0]
}

// Read implements net.Conn.
func (s *script) Read(p []byte) (int, error) {
	step := s.next()
	if step == nil {
		return 0, io.EOF
	}
	if step.Who != s.peer {
		return 0, s.off("reading while the peer waits for %q", step.Data)
	}
	if s.chunk > 0 && len(p) > s.chunk {
		p = p[:s.chunk]
	}
	if !s.begun {
		s.due = s.answers(step)
	}
	n := copy(p, step.Data)
	step.Data = step.Data[n:]
	s.begun = len(step.Data) > 0
	return n, nil
}

// answers is how many writes are due to what the peer says in a step: a server answers each line
// of a transcript in one write, and a client goes on with one. What came in a second write could
// wait for the acknowledgement of the first.
func (s *script) answers(step *Step) int {
	if s.peer == 'S' {
		return 1
	}
	return step.lines
}

// Write implements net.Conn. What is said behind the last answer, to end, may be said by itself.
func (s *script) Write(p []byte) (int, error) {
	if s.due--; s.due < 0 && s.upgrade {
		return 0, s.off("wrote %q, which belongs to the write before", p)
	}
	step := s.next()
	if step != nil && step.Who == s.peer && s.begun && len(s.steps) > 1 {
		step = &s.steps[1] // the answer to what has been read of this step so far
	}
	if step == nil || step.Who == s.peer || !bytes.HasPrefix(step.Data, p) {
		var want []byte
		if step != nil {
			want = step.Data
		}
		return 0, s.off("wrote %q, at %q", p, want)
	}
	step.Data = step.Data[len(p):]
	return len(p), nil
}

// Buffered is how much a host would have read ahead.
func (s *script) Buffered() int {
	if step := s.next(); step != nil && step.Who == s.peer {
		return len(step.Data)
	}
	return 0
}

func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*script)(nil)
