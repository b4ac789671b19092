package upgrade

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Each protocol with a Rejoin filter has dialogues for it, and keeps to them
// however both sides' bytes are cut.
func TestRejoin(t *testing.T) {
	for _, p := range protocols {
		if p.Rejoin == nil {
			continue
		}
		for _, d := range readRejoins(t, "testdata/"+p.Name+".rejoin.txt") {
			for _, chunk := range d.chunks() {
				t.Run(fmt.Sprintf("%s/%s/%d", p.Name, d.name, chunk), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { playRejoin(t, p, d, chunk) })
				})
			}
		}
	}
}

// A rejoin is one dialogue between a client and a backend, with the filter amid.
// See testdata/README.md for the format.
type rejoin struct {
	name, outcome string
	plain         bool
	direct        bool
	inside        bool // the server's side is that which Fresh makes
	auth          bool
	resume        string
	steps         []rejoinStep
}

// A rejoinStep is what one side does, and all that comes of it.
type rejoinStep struct {
	who  string // "B", "C", or empty when only time passes
	data []byte
	end  bool
	wait time.Duration
	want arrivals
}

// arrivals is what has arrived since the step before.
type arrivals struct {
	backend, client       string
	backendEnd, clientEnd bool
	warnings              int
	warning               string
}

func readRejoins(t testing.TB, path string) (all []*rejoin) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var d *rejoin
	for n, line := range strings.Split(string(text), "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "//"):
		case strings.HasPrefix(line, "== "):
			d = &rejoin{name: line[3:], steps: make([]rejoinStep, 1)}
			all = append(all, d)
		case strings.HasPrefix(line, "=> "):
			d.outcome = line[3:]
		default:
			require.NoError(t, d.add(line), "%s:%d", filepath.Base(path), n+1)
		}
	}
	return all
}

func (d *rejoin) add(line string) error {
	kind, rest, _ := strings.Cut(line, " ")
	last := &d.steps[len(d.steps)-1]
	var err error
	switch kind {
	case "@":
		return d.set(rest)
	case "B!", "C!":
		d.steps = append(d.steps, rejoinStep{who: kind[:1], end: true})
	case ">B!":
		last.want.backendEnd = true
	case ">C!":
		last.want.clientEnd = true
	case ">W:":
		last.want.warnings++
		last.want.warning = rest
	case "...":
		step := rejoinStep{}
		step.wait, err = time.ParseDuration(rest)
		d.steps = append(d.steps, step)
	default:
		err = d.addBytes(line)
	}
	return err
}

func (d *rejoin) addBytes(line string) error {
	said, arrives := strings.CutPrefix(line, ">")
	if len(said) < 2 {
		return fmt.Errorf("what is %q?", line)
	}
	data, err := scripted(said[1:])
	last := &d.steps[len(d.steps)-1]
	switch who := said[:1]; {
	case who != "B" && who != "C":
		return fmt.Errorf("neither B nor C: %q", line)
	case arrives && who == "B":
		last.want.backend += string(data)
	case arrives:
		last.want.client += string(data)
	case last.who == who && last.want == (arrivals{}):
		last.data = append(last.data, data...)
	default:
		d.steps = append(d.steps, rejoinStep{who: who, data: data})
	}
	return err
}

func (d *rejoin) set(option string) error {
	key, value, _ := strings.Cut(option, " ")
	switch key {
	case "plain":
		d.plain = true
	case "direct":
		d.direct = true
	case "plaintext_auth":
		d.auth = true
	case "resume":
		d.resume = value + "\r\n"
	default:
		return fmt.Errorf("unknown option %q", key)
	}
	return nil
}

// chunks are the sizes of pieces to play the dialogue in, larger ones if it is long.
func (d *rejoin) chunks() []int {
	size := 0
	for _, s := range d.steps {
		size += len(s.data)
	}
	if size > maxFilterLine {
		return []int{0, 511, 4096}
	}
	return []int{0, 1, 7}
}

func playRejoin(t *testing.T, p *Protocol, d *rejoin, chunk int) {
	client := newRejoinClient(chunk)
	x, warnings := d.exchange(p, client)
	backend := new(rejoinBackend)
	go backend.read(x)
	defer func() {
		client.say(nil, true)
		_ = x.CloseWrite()
		synctest.Wait()
	}()
	for i, s := range d.steps {
		for data := s.data; s.who == "B" && len(data) > 0; {
			n := len(data)
			if chunk > 0 {
				n = min(n, chunk)
			}
			_, err := x.Write(data[:n])
			require.NoError(t, err)
			data = data[n:]
		}
		switch {
		case s.who == "C":
			client.say(s.data, s.end)
		case s.who == "B" && s.end:
			_ = x.CloseWrite()
		}
		time.Sleep(s.wait)
		synctest.Wait()
		got := arrivals{warnings: len(*warnings)}
		got.backend, got.backendEnd = backend.take()
		got.client, got.clientEnd = client.take()
		for _, warning := range *warnings {
			require.Contains(t, warning, s.want.warning)
			got.warning = s.want.warning
		}
		*warnings = nil
		require.Equal(t, s.want, got, "after step %d: %s %q", i, s.who, s.data)
	}
	d.checkOutcome(t, x, client, backend)
}

// exchange makes the Exchange as it is right after the negotiation, but with
// nothing in the way of the bytes: no TLS.
func (d *rejoin) exchange(p *Protocol, client net.Conn) (*Exchange, *[]string) {
	var warnings []string
	config := &Config{
		Hostname:      "mail.example.com",
		Optional:      d.plain,
		PlaintextAuth: d.auth,
		Warn:          func(message string) { warnings = append(warnings, message) },
	}
	if d.inside {
		return Fresh(client, p, config), &warnings
	}
	conn := newConn(client, p, config, false)
	conn.session = newSession(conn)
	if d.resume != "" {
		conn.session.Resume(d.resume)
	}
	conn.committed, conn.direct = d.plain, d.direct
	conn.negotiated.Store(true)
	return conn.Exchange(), &warnings
}

// checkOutcome also shows that a filter which is done changes nothing any more.
func (d *rejoin) checkOutcome(t *testing.T, x *Exchange, client *rejoinClient, backend *rejoinBackend) {
	outcome := "following"
	switch {
	case x.ended:
		outcome = "ended"
	case x.finished:
		outcome = "done"
	}
	require.Equal(t, d.outcome, outcome)
	last := d.steps[len(d.steps)-1]
	if outcome != "done" || last.end {
		return
	}
	every := "STARTTLS\r\n250-STARTTLS\r\nSTLS\r\na STARTTLS\r\n* CAPABILITY STARTTLS\r\n\"STARTTLS\"\r\n"
	for b := range 256 {
		every += string([]byte{byte(b), '\n', byte(b), '\r'})
	}
	_, err := x.Write([]byte(every))
	require.NoError(t, err)
	client.say([]byte(every), false)
	synctest.Wait()
	got, _ := client.take()
	require.Equal(t, every, got)
	got, _ = backend.take()
	require.Equal(t, every, got)
}

// A rejoinBackend takes what arrives at the backend.
type rejoinBackend struct {
	mu  sync.Mutex
	got []byte
	end bool
}

func (b *rejoinBackend) read(x *Exchange) {
	for {
		chunk := make([]byte, 512)
		n, err := x.Read(chunk)
		b.mu.Lock()
		b.got = append(b.got, chunk[:n]...)
		b.end = err != nil
		b.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (b *rejoinBackend) take() (string, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	got, end := string(b.got), b.end
	b.got, b.end = nil, false
	return got, end
}

// A rejoinClient is the client's connection.
type rejoinClient struct {
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

func newRejoinClient(chunk int) *rejoinClient {
	c := &rejoinClient{chunk: chunk}
	c.more = sync.NewCond(&c.mu)
	return c
}

func (c *rejoinClient) say(data []byte, end bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.toRead = append(c.toRead, data...)
	c.atEnd = c.atEnd || end
	c.more.Broadcast()
}

func (c *rejoinClient) take() (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, end := string(c.got), c.gotClose
	c.got, c.gotClose = nil, false
	return got, end
}

func (c *rejoinClient) Read(p []byte) (int, error) {
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

func (c *rejoinClient) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, p...)
	return len(p), nil
}

func (c *rejoinClient) CloseWrite() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gotClose = true
	return nil
}

// SetReadDeadline makes a Read return that waits, if the deadline has passed.
func (c *rejoinClient) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = !t.IsZero() && !t.After(time.Now())
	c.more.Broadcast()
	return nil
}

func (c *rejoinClient) SetWriteDeadline(time.Time) error { return nil }
func (c *rejoinClient) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
