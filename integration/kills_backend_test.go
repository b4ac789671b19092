package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A mortalBackend is one whose connections end somewhere, each in its own way. One that does
// not must be ended by the other side.
type mortalBackend struct {
	ln      net.Listener
	stage   *stage
	config  *tls.Config
	figures *figures
	seed    uint64
	open    atomic.Int64
}

// lifetime bounds that of a connection whose backend does not listen any more.
const lifetime = 2500 * time.Millisecond

// newMortalBackend starts one, until the end of the test.
func newMortalBackend(t testing.TB, s *stage, config *tls.Config, f *figures, seed uint64) *mortalBackend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	b := &mortalBackend{ln: ln, stage: s, config: config, figures: f, seed: seed}
	go b.accept()
	return b
}

func (b *mortalBackend) address() string { return b.ln.Addr().String() }

func (b *mortalBackend) accept() {
	for number := uint64(1); ; number++ {
		raw, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.open.Add(1)
		go b.handle(raw.(*net.TCPConn), rand.New(rand.NewPCG(b.seed, number)))
	}
}

// Where a backend's connection ends.
const (
	atFirst    = "at once"
	inGreeting = "inside the greeting"
	inMiddle   = "in the middle"
	atGoodbye  = "behind its 221"
	mute       = "without an answer"
	nowhere    = "never"
)

var (
	backendStops = []string{atFirst, inGreeting, inMiddle, inMiddle, inMiddle, atGoodbye, atGoodbye, mute, nowhere, nowhere}
	endings      = []string{"closes", "resets", "ends its half", "falls silent"}
)

// A victim is a connection to a backend, which ends somewhere.
type victim struct {
	*net.TCPConn
	backend    *mortalBackend
	where, how string
	left       int           // what may still be written, if it ends inside something
	heard      bool          // the client has said good bye
	ended      atomic.Bool   // in its way
	life       time.Duration // what it has left when it does not listen any more
	dead       chan struct{} // closed with the connection
	once       sync.Once
}

// handle is one connection, up to its end.
func (b *mortalBackend) handle(raw *net.TCPConn, r *rand.Rand) {
	defer b.open.Add(-1)
	v := &victim{TCPConn: raw, backend: b, where: oneOf(r, backendStops), how: oneOf(r, endings), dead: make(chan struct{})}
	v.life = time.Duration(r.Int64N(int64(lifetime)))
	defer v.die()
	switch v.where {
	case atFirst:
		_ = v.end()
		return
	case mute:
		v.mute(r.IntN(2) == 0)
		return
	case inGreeting:
		v.left = 1 + r.IntN(20)
	case inMiddle:
		v.left = 1 + r.IntN(3000)
	}
	patient := time.AfterFunc(patience, v.forgotten)
	defer patient.Stop()
	_ = b.stage.serve(v, b.config, func(conn net.Conn) net.Conn { return &leavingConn{conn, v} })
	if !v.ended.Load() {
		b.figures.add("backend ended by the other side")
	}
}

// forgotten ends a connection that the other side should have ended: its client has.
func (v *victim) forgotten() {
	if !v.ended.Load() {
		v.backend.figures.fail(fmt.Errorf("%s: a backend that would stop %s was left waiting\n%s", v.backend.stage, v.where, sessionStacks()))
		v.die()
	}
}

func oneOf(r *rand.Rand, choices []string) string { return choices[r.IntN(len(choices))] }

// mute says nothing, until its time is over.
func (v *victim) mute(listens bool) {
	v.backend.figures.add("backend " + mute)
	time.AfterFunc(v.life, v.die)
	if listens {
		v.drain()
	}
	<-v.dead
}

// sessionStacks are the stacks of those who have to do with a session.
func sessionStacks() string {
	all := strings.Split(stacks().stacks, "\n\n")
	return strings.Join(slices.DeleteFunc(all, func(stack string) bool {
		return !strings.Contains(stack, "caddy-l4") || strings.Contains(stack, ").Accept(")
	}), "\n\n")
}

// die closes the connection.
func (v *victim) die() {
	v.once.Do(func() {
		_ = v.Close()
		close(v.dead)
	})
}

// drain reads all that comes.
func (v *victim) drain() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{v.TCPConn}) }

// end ends the connection in its way, and returns when it has ended.
func (v *victim) end() error {
	v.ended.Store(true)
	v.backend.figures.add("backend " + v.where + ": " + v.how)
	time.AfterFunc(v.life, v.die)
	switch v.how {
	case "resets":
		_ = reset(v.TCPConn)
	case "ends its half":
		_ = v.CloseWrite()
		v.drain()
	case "falls silent":
		<-v.dead
	}
	v.die()
	return errStopped
}

// Write may end inside what is written.
func (v *victim) Write(p []byte) (int, error) {
	if v.where != inGreeting && v.where != inMiddle {
		return v.TCPConn.Write(p)
	}
	if v.left >= len(p) {
		v.left -= len(p)
		return v.TCPConn.Write(p)
	}
	n, _ := v.TCPConn.Write(p[:v.left])
	return n, v.end()
}

// A leavingConn is a victim as the backend's application has it, inside TLS if there is
// any. It may end behind the answer to the client's good bye.
type leavingConn struct {
	net.Conn
	victim *victim
}

// Read looks for the client's good bye.
func (c *leavingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if goodbye := c.victim.backend.stage.words().quit; strings.Contains(string(p[:n]), goodbye[len(goodbye)/2:]) {
		c.victim.heard = true
	}
	return n, err
}

// Write ends behind the answer to it.
func (c *leavingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err == nil && c.victim.heard && c.victim.where == atGoodbye {
		return n, c.victim.end()
	}
	return n, err
}
