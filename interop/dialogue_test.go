package interop

import (
	"bytes"
	"io"
	"os/exec"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialogue is a client program with a person at it: one who types the next line
// when the answer to the last one is there.
type dialogue struct {
	*process
	t      testing.TB
	stdin  io.WriteCloser
	out    transcript
	errors transcript
	seen   int
}

// transcript collects what a program prints while it is being read.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// startDialogue starts a client program.
func startDialogue(t testing.TB, name string, args ...string) *dialogue {
	t.Helper()
	d := &dialogue{t: t}
	cmd := exec.Command(program(name), args...)
	cmd.Stdout, cmd.Stderr = &d.out, &d.errors
	var err error
	d.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	d.process = startCmd(t, cmd)
	return d
}

// upgraded starts an s_client that sends lines in TLS. What it prints on its
// standard output is what came over TLS and nothing else.
func upgraded(t testing.TB, c *caddyServer, proto, addr, host string) *dialogue {
	t.Helper()
	return startDialogue(t, "openssl", "s_client", "-quiet", "-crlf",
		"-starttls", proto, "-connect", addr, "-servername", host,
		"-verify_hostname", host, "-verify_return_error", "-CAfile", c.Root())
}

// send types a line.
func (d *dialogue) send(line string) {
	d.t.Helper()
	d.write(line + "\n")
}

// write types text that need not be a line.
func (d *dialogue) write(text string) {
	d.t.Helper()
	_, err := io.WriteString(d.stdin, text)
	require.NoError(d.t, err, "%s\n%s", d.out.String(), d.errors.String())
}

// expect waits for output that matches and returns everything up to the end of
// the match that was not returned before. In the pattern, ^ and $ match at lines.
func (d *dialogue) expect(pattern string) string {
	d.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		ended := d.Exited()
		unseen := d.out.String()[d.seen:]
		if at := re.FindStringIndex(unseen); at != nil {
			d.seen += at[1]
			return unseen[:at[1]]
		}
		require.False(d.t, ended, "ended instead of printing %q: %q\n%s", pattern, unseen, d.errors.String())
		time.Sleep(10 * time.Millisecond)
	}
	require.FailNow(d.t, "not printed: "+pattern, "%q\n%s", d.out.String()[d.seen:], d.errors.String())
	return ""
}

// end waits until the program has ended by itself, because the server closed, and
// returns the output that was not expected before.
func (d *dialogue) end() string {
	d.t.Helper()
	select {
	case <-d.Done():
	case <-time.After(10 * time.Second):
		require.FailNow(d.t, "the connection stayed open", "%q", d.out.String()[d.seen:])
	}
	return d.out.String()[d.seen:]
}
