package l4starttls_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A backend records who dials it and every byte that arrives. It plays a script,
// or else a plain server of its protocol.
type backend struct {
	protocol string
	script   []step
	ln       net.Listener

	mu    sync.Mutex
	dials []*recording
	idle  *sync.Cond // some connection has ended
}

// A recording is one connection to the backend.
type recording struct {
	conn     net.Conn
	received []byte
	ended    bool
	err      error // what the script ran into
}

// newBackend starts one, until the end of the test.
func newBackend(t testing.TB, protocol string, script []step) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	b := &backend{protocol: protocol, script: script, ln: ln}
	b.idle = sync.NewCond(&b.mu)
	go b.accept()
	return b
}

func (b *backend) address() string { return b.ln.Addr().String() }

func (b *backend) accept() {
	for {
		conn, err := b.ln.Accept()
		if err != nil {
			return
		}
		r := &recording{conn: conn}
		b.mu.Lock()
		b.dials = append(b.dials, r)
		b.mu.Unlock()
		go b.serve(conn, r)
	}
}

func (b *backend) serve(conn net.Conn, r *recording) {
	defer func() { _ = conn.Close() }()
	tapped := &tappedConn{Conn: conn, backend: b, recording: r}
	var err error
	if b.script != nil {
		p := newPeer(tapped, nil)
		if err = p.run(b.script); err == nil {
			_, _ = io.Copy(io.Discard, tapped)
		}
	} else {
		err = servers[b.protocol](tapped)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r.ended, r.err = true, err
	b.idle.Broadcast()
}

// tappedConn records what is read.
type tappedConn struct {
	net.Conn
	backend   *backend
	recording *recording
}

func (c *tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.backend.mu.Lock()
	defer c.backend.mu.Unlock()
	c.recording.received = append(c.recording.received, p[:n]...)
	return n, err
}

// hangUp ends the backend's half of all connections.
func (b *backend) hangUp() (err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.dials {
		err = errors.Join(err, r.conn.(*net.TCPConn).CloseWrite())
	}
	return err
}

// dialled tells how many connections there have been.
func (b *backend) dialled() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.dials)
}

// received returns all that has arrived, connection after connection.
func (b *backend) received() (all []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.dials {
		all = append(all, r.received...)
	}
	return all
}

// await waits until all connections have ended, and tells what went wrong on them.
func (b *backend) await() error {
	timer := time.AfterFunc(patience, func() { _ = b.ln.Close(); b.idle.Broadcast() })
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		open, failed := 0, error(nil)
		for _, r := range b.dials {
			failed = errors.Join(failed, r.err)
			if !r.ended {
				open++
			}
		}
		switch {
		case open == 0:
			return failed
		case time.Now().After(deadline):
			return fmt.Errorf("%d connections to the backend are still open", open)
		}
		b.idle.Wait()
	}
}

// servers play one side of each protocol, as a backend without TLS does.
var servers = map[string]func(net.Conn) error{
	"smtp":     func(c net.Conn) error { return serveLines(c, "220 backend.example ESMTP\r\n", smtpAnswer) },
	"lmtp":     func(c net.Conn) error { return serveLines(c, "220 backend.example LMTP\r\n", smtpAnswer) },
	"imap":     func(c net.Conn) error { return serveLines(c, "* OK backend ready\r\n", imapAnswer) },
	"pop3":     func(c net.Conn) error { return serveLines(c, "+OK backend ready\r\n", pop3Answer) },
	"sieve":    func(c net.Conn) error { return serveLines(c, sieveCapabilities, sieveAnswer) },
	"line":     func(c net.Conn) error { return serveLines(c, "READY\r\n", lineAnswer) },
	"xmpp":     serveXMPP,
	"ldap":     serveLDAP,
	"postgres": servePostgres,
}

// serveLines answers line by line.
func serveLines(conn net.Conn, greeting string, answer func(verb, line string) string) error {
	if _, err := io.WriteString(conn, greeting); err != nil {
		return nil
	}
	for lines := bufio.NewReader(conn); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil
		}
		line = strings.TrimRight(line, "\r\n")
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		if _, err := io.WriteString(conn, answer(verb, line)); err != nil {
			return nil
		}
	}
}

func smtpAnswer(verb, _ string) string {
	switch verb {
	case "EHLO", "LHLO":
		return "250-backend.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
	case "QUIT":
		return "221 2.0.0 Bye\r\n"
	case "FAKE":
		return "500 5.5.2 Unknown command\r\n"
	}
	return "250 2.0.0 Ok\r\n"
}

func imapAnswer(_, line string) string {
	tag, command, _ := strings.Cut(line, " ")
	if strings.EqualFold(command, "CAPABILITY") {
		return "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag + " OK done\r\n"
	}
	return tag + " OK done\r\n"
}

func pop3Answer(verb, _ string) string {
	if verb == "CAPA" {
		return "+OK\r\nUSER\r\nTOP\r\n.\r\n"
	}
	return "+OK done\r\n"
}

const sieveCapabilities = "\"IMPLEMENTATION\" \"backend\"\r\n\"SASL\" \"PLAIN\"\r\n\"SIEVE\" \"fileinto\"\r\n" +
	"\"VERSION\" \"1.0\"\r\nOK \"backend ready\"\r\n"

func sieveAnswer(verb, line string) string {
	if verb == "CAPABILITY" {
		return sieveCapabilities
	}
	if _, tag, ok := strings.Cut(line, " "); ok && verb == "NOOP" {
		return "OK (TAG " + tag + ") \"done\"\r\n"
	}
	return "OK \"done\"\r\n"
}

func lineAnswer(_, line string) string { return "GOT " + line + "\r\n" }

const xmppFeatures = "<?xml version='1.0'?><stream:stream from='example.org' id='backend' xmlns='jabber:client' " +
	"xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:features>" +
	"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"

// serveXMPP answers stream headers, and refuses whatever else begins with a tag.
func serveXMPP(conn net.Conn) error {
	for r := bufio.NewReader(conn); ; {
		tag, err := r.ReadString('>')
		if err != nil {
			return nil
		}
		answer := ""
		switch {
		case strings.Contains(tag, "<stream:stream"):
			answer = xmppFeatures
		case strings.HasPrefix(tag, "<starttls"):
			answer = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return nil
		}
	}
}

// serveLDAP says success to every bind. Its messages are short, so that a length is
// always one octet.
func serveLDAP(conn net.Conn) error {
	for r := bufio.NewReader(conn); ; {
		head := make([]byte, 2)
		if _, err := io.ReadFull(r, head); err != nil {
			return nil
		}
		if head[0] != 0x30 || head[1] > 0x7f {
			return fmt.Errorf("not a short LDAP message: %x", head)
		}
		message := make([]byte, head[1])
		if _, err := io.ReadFull(r, message); err != nil {
			return nil
		}
		id := message[:2+message[1]]
		result := []byte{0x61, 7, 0x0a, 1, 0, 0x04, 0, 0x04, 0}
		if _, err := conn.Write(append([]byte{0x30, byte(len(id) + len(result))}, append(id, result...)...)); err != nil {
			return nil
		}
	}
}

// servePostgres asks every StartupMessage for SCRAM, and is done with all else.
func servePostgres(conn net.Conn) error {
	head := make([]byte, 8)
	if _, err := io.ReadFull(conn, head); err != nil {
		return nil
	}
	rest := int64(binary.BigEndian.Uint32(head)) - 8
	if rest < 0 || rest > 10000 {
		return fmt.Errorf("not a startup packet: %x", head)
	}
	_, _ = io.CopyN(io.Discard, conn, rest)
	if !bytes.Equal(head[4:], []byte{0, 3, 0, 0}) {
		return nil
	}
	mechanisms := "SCRAM-SHA-256\x00\x00"
	answer := binary.BigEndian.AppendUint32([]byte{'R'}, uint32(8+len(mechanisms)))
	answer = append(binary.BigEndian.AppendUint32(answer, 10), mechanisms...)
	_, _ = conn.Write(answer)
	_, _ = io.Copy(io.Discard, conn)
	return nil
}
