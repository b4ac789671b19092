package integration_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"
)

// Where a client stops.
const (
	atGreeting  = "before the greeting"
	inLine      = "inside a line"
	atRequest   = "behind the request"
	inHello     = "inside the ClientHello"
	atHandshake = "behind the handshake"
	atHeld      = "while its bytes are held"
	atPending   = "while an answer is due"
	inMessage   = "inside a message"
	atQuit      = "behind QUIT"
	atEnd       = "at its end"
)

var (
	clearStops = []string{atGreeting, inLine, atHeld, atPending, inMessage, atQuit, atEnd}
	tlsStops   = append([]string{atRequest, inHello, atHandshake}, clearStops...)
)

// errStopped is that somebody has come to where it stops.
var errStopped = errors.New("stopped")

// A mortalClient is a client that stops somewhere.
type mortalClient struct {
	*peer
	*stage
	raw   *cutConn
	rnd   *rand.Rand
	where string
}

// A cutConn may be cut off inside what is written.
type cutConn struct {
	*net.TCPConn
	cut  bool
	left int // what may still be written then
}

func (c *cutConn) Write(p []byte) (int, error) {
	if !c.cut || len(p) <= c.left {
		c.left -= len(p)
		return c.TCPConn.Write(p)
	}
	n, err := c.TCPConn.Write(p[:max(c.left, 0)])
	return n, errors.Join(errStopped, err)
}

// trustsAll is the configuration of clients to whom the certificate is of no interest.
var trustsAll = &tls.Config{InsecureSkipVerify: true}

// visit is one client's session. Only that it is left waiting is an error.
func (s *stage) visit(r *rand.Rand, f *figures) error {
	conn, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		return nil // a listener that has just been replaced
	}
	raw := &cutConn{TCPConn: conn.(*net.TCPConn)}
	defer func() { _ = raw.Close() }()
	config := trustsAll.Clone()
	config.ServerName = "mail.example.com"
	c := &mortalClient{peer: newPeer(raw, config).speaking(s.proto.Name), stage: s, raw: raw, rnd: r}
	secure := s.upgrades() && (s.name != "optional" || r.IntN(2) == 0)
	stops := clearStops
	if secure {
		stops = tlsStops
	}
	c.where = oneOf(r, stops)
	if err := c.talk(secure); err != nil && !errors.Is(err, errStopped) {
		f.add("client ended by the other side")
		return c.unlessEnded(err)
	}
	return c.stop(f)
}

// unlessEnded is an error of a client that was left waiting.
func (c *mortalClient) unlessEnded(err error) error {
	if c.closed || !errors.Is(err, os.ErrDeadlineExceeded) && !strings.Contains(err.Error(), "received") {
		return nil
	}
	return fmt.Errorf("neither answered nor ended, will stop %s: %w", c.where, err)
}

// talk goes up to where the client stops.
func (c *mortalClient) talk(secure bool) error {
	if c.where == atGreeting {
		return errStopped
	}
	if err := c.enter(secure); err != nil {
		return err
	}
	words := c.words()
	for _, part := range []struct{ where, says string }{
		{atHandshake, ""}, {atHeld, words.held}, {atPending, words.pending}, {inMessage, words.message}, {atQuit, words.quit},
	} {
		if err := c.say(part.says); err != nil {
			return err
		}
		if c.where == part.where {
			return errStopped
		}
		if err := c.hear(part.where); err != nil {
			return err
		}
	}
	return nil
}

// hear reads what comes for a moment. Some wait for as long as it takes, where all backends
// answer or end.
func (c *mortalClient) hear(where string) error {
	switch {
	case where == atHandshake:
		return nil
	case where == atHeld && c.rnd.IntN(2) == 0:
		got, err := c.read(time.Now().Add(patience))
		if err == nil && !got && !c.closed {
			err = fmt.Errorf("received nothing: %w\n%s", os.ErrDeadlineExceeded, sessionStacks())
		}
		return err
	}
	_, err := c.read(time.Now().Add(time.Duration(c.rnd.IntN(150)) * time.Millisecond))
	return err
}

// say says something, or half of it, with or without TLS.
func (c *mortalClient) say(text string) error {
	if text == "" {
		return nil
	}
	var to io.Writer = c.raw
	if c.tls != nil {
		to = c.tls
	}
	if c.where == inLine && c.rnd.IntN(2) == 0 {
		_ = c.write(to, []byte(text[:len(text)/2]), step{})
		return errStopped
	}
	return c.write(to, []byte(text), step{})
}

// enter gets as far as to where the backend is spoken to.
func (c *mortalClient) enter(secure bool) error {
	direct := c.name == "implicit" && c.rnd.IntN(2) == 0
	if !direct {
		if err := c.ask(secure); err != nil {
			return err
		}
	}
	if !secure {
		return nil
	}
	c.raw.cut, c.raw.left = c.where == inHello, 1+c.rnd.IntN(1400)
	conn, err := c.handshake(c.config.Clone())
	if err != nil {
		return err
	}
	c.tls = conn
	return nil
}

// ask has the greeting, and asks for the upgrade if there is to be one.
func (c *mortalClient) ask(secure bool) error {
	talk := c.stage.talk
	steps := talk.ask()
	if !secure {
		steps = talk.greet[:min(1, len(talk.greet))]
		if talk.clear == nil && !c.proto.EarlyDial || c.name != "optional" {
			return nil // which is not greeted, or perhaps in other words
		}
	}
	for _, s := range steps {
		if s.SendText != "" && c.where == inLine && (s.SendText == talk.request || c.rnd.IntN(2) == 0) {
			_ = c.write(c.raw, []byte(s.SendText[:len(s.SendText)/2]), step{})
			return errStopped
		}
		if err := c.play(s); err != nil {
			return err
		}
		if s.SendText == talk.request && c.where == atRequest {
			return errStopped
		}
	}
	return nil
}

// stop ends the session, or has it ended.
func (c *mortalClient) stop(f *figures) error {
	how := oneOf(c.rnd, endings)
	f.add("client " + c.where + ": " + how)
	switch how {
	case "resets":
		return ignored(reset(c.raw.TCPConn))
	case "ends its half":
		if c.tls != nil && c.rnd.IntN(2) == 0 {
			_ = c.tls.CloseWrite()
		}
		_ = c.raw.CloseWrite()
		return c.awaitEnd()
	case "falls silent":
		time.Sleep(time.Duration(c.rnd.IntN(1000)) * time.Millisecond)
		if c.mustHurry() && c.rnd.IntN(2) == 0 {
			return c.awaitEnd()
		}
	}
	return ignored(c.raw.Close())
}

// mustHurry reports whether a client's silence has an end: whatever comes before TLS has
// limits, unless it belongs to the application, or the backend has TLS.
func (c *mortalClient) mustHurry() bool {
	if c.name == "passthrough" && c.where == inHello {
		return false
	}
	return c.upgrades() && c.name != "optional" && !c.proto.EarlyDial && c.tls == nil
}

// ignored is no error: the other side may have been faster.
func ignored(error) error { return nil }

// awaitEnd waits for the end of the connection below all TLS.
func (c *mortalClient) awaitEnd() error {
	_ = c.raw.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, c.raw.TCPConn); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s is still open, stopped %s, inside TLS: %t\n%s", c.raw.LocalAddr(), c.where, c.tls != nil, sessionStacks())
	}
	return nil
}
