package upgrade

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// dataTimeout bounds every wait of these tests.
const dataTimeout = 20 * time.Second

// An ftpSession is a client with a backend, and the session between them. The backend has a
// listener for data connections, and no TLS.
type ftpSession struct {
	t       *testing.T
	client  *tls.Conn
	dialled *Conn // the same
	replies *bufio.Reader
	waiting *net.TCPListener // the backend's
	backs   func(*Joined)    // what serves in place of the backend, if not nil
	joined  *Joined
	over    chan struct{} // the session is over, and all is closed

	mu       sync.Mutex
	warnings []string
}

// startFTP begins a session inside TLS, with PROT P. A nil config is that of coreTLS.
func startFTP(t *testing.T, server, client *tls.Config, options map[string]string) *ftpSession {
	t.Helper()
	s := &ftpSession{t: t, waiting: listenTCP(t), over: make(chan struct{})}
	s.start(server, client, options)
	return s
}

func (s *ftpSession) start(server, client *tls.Config, options map[string]string) {
	t := s.t
	t.Helper()
	if server == nil {
		server, client = coreTLS()
	}
	ln := listenTCP(t)
	config := &Config{TLS: server, Options: map[string]string{dialogue.DataUpstreamOption: "127.0.0.1"}, Warn: s.warn}
	for name, value := range options {
		config.Options[name] = value
	}
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		defer close(s.over)
		defer raw.Close()
		joined, err := Join(context.Background(), raw, FTP, config)
		if err != nil {
			return
		}
		s.joined = joined
		if s.backs != nil {
			s.backs(joined)
		} else {
			s.serve(joined)
			_ = joined.CloseWrite()
			_, _ = io.Copy(io.Discard, joined)
		}
		joined.Returned(nil)
	}()
	conn, err := Dial(context.Background(), "tcp", ln.Addr().String(), FTP, &Config{TLS: client})
	require.NoError(t, err)
	s.client, s.dialled = conn.tls.Load(), conn
	t.Cleanup(func() { _ = s.client.Close(); s.awaitEnd() })
	require.NoError(t, s.client.SetDeadline(time.Now().Add(dataTimeout)))
	s.replies = bufio.NewReader(s.client)
	require.Equal(t, "200 PBSZ=0", s.says("PBSZ 0"))
	require.Equal(t, "200 Protection level is P", s.says("PROT P"))
}

func (s *ftpSession) warn(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = append(s.warnings, message)
}

// warned returns what an administrator was told.
func (s *ftpSession) warned() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.warnings
}

// serve is a backend, up to QUIT or the end.
func (s *ftpSession) serve(conn net.Conn) {
	_, _ = io.WriteString(conn, "220 ready\r\n")
	for in := bufio.NewScanner(conn); in.Scan(); {
		switch verb, _, _ := strings.Cut(in.Text(), " "); verb {
		case "EPSV":
			fmt.Fprintf(conn, "229 ok (|||%d|)\r\n", s.waiting.Addr().(*net.TCPAddr).Port)
		case "PASV":
			port := s.waiting.Addr().(*net.TCPAddr).Port
			fmt.Fprintf(conn, "227 ok (10,0,0,9,%d,%d)\r\n", port>>8, port&0xff)
		case "QUIT":
			_, _ = io.WriteString(conn, "221 bye\r\n")
			return
		default:
			_, _ = io.WriteString(conn, "200 ok\r\n")
		}
	}
}

// says has the client give a command, and returns the reply.
func (s *ftpSession) says(command string) string {
	s.t.Helper()
	_, err := io.WriteString(s.client, command+"\r\n")
	require.NoError(s.t, err)
	line, err := s.replies.ReadString('\n')
	require.NoError(s.t, err)
	return strings.TrimSpace(line)
}

var extendedPassive = regexp.MustCompile(`^229 .*\(\|\|\|(\d+)\|\)$`)

// passive asks for a data connection, and returns where to connect.
func (s *ftpSession) passive() string {
	s.t.Helper()
	reply := s.says("EPSV")
	require.Regexp(s.t, extendedPassive, reply)
	return net.JoinHostPort("127.0.0.1", extendedPassive.FindStringSubmatch(reply)[1])
}

// dial connects the client, from an address.
func (s *ftpSession) dial(from, to string) (*net.TCPConn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: dataTimeout}
	conn, err := dialer.Dial("tcp", to)
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(dataTimeout)))
	return conn.(*net.TCPConn), nil
}

// connect makes the client's data connection, below TLS.
func (s *ftpSession) connect() *net.TCPConn {
	s.t.Helper()
	conn, err := s.dial("127.0.0.1", s.passive())
	require.NoError(s.t, err)
	return conn
}

// transfer makes a data connection with both sides, before TLS begins with the client.
func (s *ftpSession) transfer() (client, backend *net.TCPConn) {
	s.t.Helper()
	client = s.connect()
	return client, s.backend()
}

// backend is its side of the data connection.
func (s *ftpSession) backend() *net.TCPConn {
	s.t.Helper()
	require.NoError(s.t, s.waiting.SetDeadline(time.Now().Add(dataTimeout)))
	conn, err := s.waiting.AcceptTCP()
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(dataTimeout)))
	return conn
}

// awaitEnd waits for the end of the session, behind which nothing of it is left.
func (s *ftpSession) awaitEnd() {
	s.t.Helper()
	select {
	case <-s.over:
	case <-time.After(dataTimeout):
		require.Fail(s.t, "the session goes on")
	}
}

func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return ln.(*net.TCPListener)
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, text, err := net.SplitHostPort(address)
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	return port
}
