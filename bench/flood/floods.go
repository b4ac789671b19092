package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The addresses of the flood and of those beside it.
const (
	floodAddress = "127.0.0.3"
	goodAddress  = "127.0.0.2"
)

// A flood is what one address does.
type flood struct {
	name   string
	limits string // of starttls
	stands bool   // it has connections that stand still

	begin func(*settings, *caddy) (*flooding, error)
}

// floods are all of them, the quiet of none first.
func (s *settings) floods() []flood {
	stalled := fmt.Sprintf("%d stalled negotiations", s.connections)
	return []flood{
		{name: "nobody", begin: func(*settings, *caddy) (*flooding, error) { return new(flooding), nil }},
		{name: fmt.Sprintf("%d in a handler that does nothing", s.connections), stands: true, begin: standStill((*caddy).stalling, nil)},
		{name: stalled, stands: true, begin: standStill((*caddy).serving, greeted)},
		{name: fmt.Sprintf("%d that asked for the upgrade and never handshake", s.connections), stands: true, begin: standStill((*caddy).serving, asked)},
		{name: fmt.Sprintf("%d connections with errors a second", s.rate), begin: errorFlood},
		{
			name: fmt.Sprintf("%s, of which `per_address %d` admits as many", stalled, s.perAddress), stands: true,
			limits: fmt.Sprintf("per_address %d", s.perAddress), begin: standStill((*caddy).serving, greetedOrNot),
		},
	}
}

// A flooding is a flood that goes on.
type flooding struct {
	mu    sync.Mutex
	conns []net.Conn
	over  atomic.Bool
	ended atomic.Int64 // connections of which Caddy has seen to the end
	all   sync.WaitGroup
}

func (f *flooding) end() {
	f.over.Store(true)
	f.all.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range f.conns {
		abort(conn)
	}
}

// abort leaves no port in TIME_WAIT behind.
func abort(conn net.Conn) {
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.Close()
}

func dialFrom(ip, address string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: time.Minute}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(time.Minute))
}

// standStill makes a flood of connections that go on to some point and no further.
func standStill(where func(*caddy) string, goOn func(net.Conn) error) func(*settings, *caddy) (*flooding, error) {
	return func(s *settings, c *caddy) (*flooding, error) {
		f := new(flooding)
		failures := make(chan error, 1)
		next := make(chan struct{})
		for range 64 {
			f.all.Go(func() {
				for range next {
					if err := f.stand(where(c), goOn); err != nil {
						select {
						case failures <- err:
						default: // one will do
						}
					}
				}
			})
		}
		for range s.connections {
			next <- struct{}{}
		}
		close(next)
		f.all.Wait()
		select {
		case err := <-failures:
			f.end()
			return nil, err
		default:
			time.Sleep(2500 * time.Millisecond) // what is refused has that long to read
			return f, nil
		}
	}
}

func (f *flooding) stand(address string, goOn func(net.Conn) error) error {
	conn, err := dialFrom(floodAddress, address)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.conns = append(f.conns, conn)
	f.mu.Unlock()
	if goOn == nil {
		return nil
	}
	return goOn(conn)
}

// expect reads a line that begins with a text.
func expect(conn net.Conn, want string) error {
	line, err := readLine(conn)
	if err != nil || !strings.HasPrefix(line, want) {
		return fmt.Errorf("read %q, not %q: %w", line, want, err)
	}
	return nil
}

// readLine reads a line and no further.
func readLine(conn net.Conn) (string, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(conn, one); err != nil {
			return string(line), err
		}
		if line = append(line, one...); one[0] == '\n' {
			return string(line), nil
		}
	}
}

func greeted(conn net.Conn) error { return expect(conn, "220") }

// greetedOrNot is for connections of which most are refused.
func greetedOrNot(conn net.Conn) error {
	if _, err := readLine(conn); err != nil {
		abort(conn) // not even told
	}
	return nil
}

func asked(conn net.Conn) error {
	if err := greeted(conn); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "STARTTLS\r\n"); err != nil {
		return err
	}
	return expect(conn, "220")
}

// errorFlood is of connections that say what nobody understands, until they are ended.
func errorFlood(s *settings, c *caddy) (*flooding, error) {
	f := new(flooding)
	f.all.Go(func() {
		begun := time.Now()
		for made := 0; !f.over.Load(); time.Sleep(5 * time.Millisecond) {
			for ; made < int(time.Since(begun).Seconds()*float64(s.rate)); made++ {
				f.all.Go(func() { f.blunder(c.serving()) })
			}
		}
	})
	time.Sleep(time.Second) // for it to be there
	return f, nil
}

func (f *flooding) blunder(address string) {
	conn, err := dialFrom(floodAddress, address)
	if err != nil {
		return
	}
	defer abort(conn)
	_, _ = io.WriteString(conn, strings.Repeat("what\r\n", 5))
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "421") {
			f.ended.Add(1)
			return
		}
	}
}
