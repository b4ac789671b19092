package upgrade

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A dialogue is one conversation of a transcript in testdata. See
// testdata/README.md for the format.
type dialogue struct {
	name    string
	roles   string // "accept", "request" or "accept request"
	config  Config
	steps   []step
	outcome string
	facts   map[string]string
}

// A step is what one side sends without waiting for the other.
type step struct {
	client bool
	data   []byte
}

// outcomes names the errors that a dialogue can end with.
var outcomes = map[string]error{
	"upgraded": nil, "committed": nil, "quit": ErrQuit, "pipelined": ErrPipelined, "too long": ErrLineTooLong, "too many": ErrTooMany,
	"malformed": ErrMalformed, "plaintext": ErrPlaintext, "not offered": ErrNotOffered, "refused": ErrRefused, "gone": io.EOF,
}

// readDialogues parses a transcript.
func readDialogues(t testing.TB, path string) (all []*dialogue) {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var d *dialogue
	for n, line := range strings.Split(string(text), "\n") {
		where := fmt.Sprintf("%s:%d", filepath.Base(path), n+1)
		switch {
		case line == "" || strings.HasPrefix(line, "//"):
		case strings.HasPrefix(line, "== "):
			d = newDialogue(line[3:])
			all = append(all, d)
		case strings.HasPrefix(line, "@ "):
			require.NoError(t, d.set(line[2:]), where)
		case strings.HasPrefix(line, "=> "):
			require.NoError(t, d.end(line[3:]), where)
		default:
			require.NoError(t, d.add(line), where)
		}
	}
	return all
}

func newDialogue(title string) *dialogue {
	d := &dialogue{name: title, roles: "accept request", facts: map[string]string{}}
	if name, role, ok := strings.Cut(title, " ["); ok {
		d.name, d.roles = name, strings.TrimSuffix(role, "]")
	}
	return d
}

func (d *dialogue) set(option string) error {
	key, value, _ := strings.Cut(option, " ")
	switch key {
	case "greeting":
		d.config.Greeting = value
	case "capabilities":
		d.config.Capabilities = strings.Fields(value)
	case "command":
		d.config.Command = value
	case "reply":
		d.config.Reply = value
	case "optional":
		d.config.Optional = true
	case "plaintext_auth":
		d.config.PlaintextAuth = true
	default:
		return fmt.Errorf("unknown option %q", key)
	}
	return nil
}

func (d *dialogue) end(text string) error {
	d.outcome = text
	if outcome, facts, ok := strings.Cut(text, ", "); ok {
		d.outcome = outcome
		for _, fact := range strings.Split(facts, ", ") {
			key, value, _ := strings.Cut(fact, "=")
			d.facts[key] = value
		}
	}
	if _, ok := outcomes[d.outcome]; !ok {
		return fmt.Errorf("unknown outcome %q", d.outcome)
	}
	return nil
}

func (d *dialogue) add(line string) error {
	if len(line) < 2 || (line[0] != 'C' && line[0] != 'S') {
		return fmt.Errorf("neither C nor S: %q", line)
	}
	data, err := scripted(line[1:])
	d.append(line[0] == 'C', data)
	return err
}

// scripted reads the bytes of a line behind the letter for who says them.
func scripted(line string) ([]byte, error) {
	rest := strings.TrimPrefix(line[1:], " ")
	switch line[0] {
	case ':':
		return []byte(rest + "\r\n"), nil
	case '#':
		return hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	case '=':
		s, err := strconv.Unquote(rest)
		return []byte(s), err
	case '*':
		return repeated(rest)
	}
	return nil, fmt.Errorf("unknown kind of line %q", line)
}

// repeated makes the bytes of a number and a quoted string.
func repeated(text string) ([]byte, error) {
	number, quoted, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	s, err := strconv.Unquote(quoted)
	return bytes.Repeat([]byte(s), n), err
}

func (d *dialogue) append(client bool, data []byte) {
	if n := len(d.steps); n > 0 && d.steps[n-1].client == client {
		d.steps[n-1].data = append(d.steps[n-1].data, data...)
		return
	}
	d.steps = append(d.steps, step{client, data})
}

// A scriptConn plays the other side of a dialogue without goroutines: it yields a
// step's bytes only when all before it has been written, exactly as scripted.
type scriptConn struct {
	steps   []step
	peer    bool // the scripted side is the client
	chunk   int  // bytes a Read yields at the most; 0: all there are
	begun   bool // the present step of the peer has been read in part
	writes  int
	problem error
}

var errScript = errors.New("off the script")

func (c *scriptConn) off(format string, args ...any) error {
	c.problem = fmt.Errorf("%w: "+format, append([]any{errScript}, args...)...)
	return c.problem
}

func (c *scriptConn) next() *step {
	for len(c.steps) > 0 && len(c.steps[0].data) == 0 {
		c.steps = c.steps[1:]
	}
	if len(c.steps) == 0 {
		return nil
	}
	return &c.steps[0]
}

func (c *scriptConn) Read(p []byte) (int, error) {
	s := c.next()
	if s == nil {
		return 0, io.EOF
	}
	if s.client != c.peer {
		return 0, c.off("reading while the peer waits for %q", s.data)
	}
	if c.chunk > 0 && len(p) > c.chunk {
		p = p[:c.chunk]
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	c.begun = len(s.data) > 0
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.writes++
	s := c.next()
	if s != nil && s.client == c.peer && c.begun && len(c.steps) > 1 {
		s = &c.steps[1] // the answer to what has been read of this step so far
	}
	if s == nil || s.client == c.peer || !bytes.HasPrefix(s.data, p) {
		var want []byte
		if s != nil {
			want = s.data
		}
		return 0, c.off("wrote %q, at %q", p, want)
	}
	s.data = s.data[len(p):]
	return len(p), nil
}

// Buffered stands for what a host has prefetched.
func (c *scriptConn) Buffered() int {
	if s := c.next(); s != nil && s.client == c.peer {
		return len(s.data)
	}
	return 0
}

func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }
