package upgrade

import (
	"bytes"
	"io"
	"strings"
)

// Limits of the plaintext phase. They are generous for every client that wants
// TLS, and small for one that wants something else.
const (
	maxLineDefault = 4096
	maxBytes       = 64 << 10 // in all, in either role
	maxCommands    = 50
	maxRefusals    = 5 // commands that were refused
)

// A Session is the plaintext phase of one connection, as a protocol's roles see
// it. It owns every byte before TLS: lines, messages, commands, refusals and the
// total are bounded, and deadlines are kept elsewhere. A role that gets an error
// from it returns it.
type Session struct {
	conn    *Conn
	maxLine int

	received, commands, refusals int
	written                      bool // in this phase

	goAhead           []byte
	hello, serverName string

	plaintextLogin, loginKnown bool // what a server has said of it

	last   []byte // the command that was read last
	resume []byte // what a client that goes on in clear has established
}

func newSession(c *Conn) *Session {
	s := &Session{conn: c, maxLine: c.proto.MaxLine}
	if s.maxLine == 0 {
		s.maxLine = maxLineDefault
	}
	return s
}

// Hostname is our own name.
func (s *Session) Hostname() string { return s.conn.config.hostname() }

// Greeting is the configured greeting text, or else the given one.
func (s *Session) Greeting(otherwise string) string {
	if s.conn.config.Greeting != "" {
		return s.conn.config.Greeting
	}
	return otherwise
}

// Capabilities are the configured ones, or else the given ones.
func (s *Session) Capabilities(otherwise ...string) []string {
	if s.conn.config.Capabilities != nil {
		return s.conn.config.Capabilities
	}
	return otherwise
}

// PeerName is, for a client, the server's name as TLS will verify it.
func (s *Session) PeerName() string {
	if s.conn.config.TLS == nil {
		return ""
	}
	return s.conn.config.TLS.ServerName
}

// SetHello keeps the name that the client gave itself, for logs only.
func (s *Session) SetHello(name string) {
	if len(name) <= 255 && printable(name) {
		s.hello = name
	}
}

// SetServerName keeps the name of the host that the client asked for in clear.
// It serves to choose a certificate for a client that sends no SNI.
func (s *Session) SetServerName(name string) {
	if len(name) <= 255 && printable(name) {
		s.serverName = name
	}
}

// SetPlaintextLogin keeps, for a client, whether the server lets it log in without
// TLS. A later word counts more than an earlier one.
func (s *Session) SetPlaintextLogin(offered bool) { s.plaintextLogin, s.loginKnown = offered, true }

// Warn passes on what an administrator should change at the backend.
func (s *Session) Warn(message string) { s.conn.config.warn(message) }

// Spoken tells whether we have written anything in the present phase.
func (s *Session) Spoken() bool { return s.written }

// ReadLine reads a line and returns it without its LF or CRLF. It counts as a
// command. A ClientHello in place of a line is ErrMalformed.
func (s *Session) ReadLine() (string, error) {
	for {
		if len(s.conn.buf) > 0 && s.conn.buf[0] == recordTypeHandshake {
			return "", ErrMalformed
		}
		end := bytes.IndexByte(s.conn.buf, '\n')
		if end >= s.maxLine || (end < 0 && len(s.conn.buf) >= s.maxLine) {
			return "", ErrLineTooLong
		}
		if end >= 0 {
			s.last = bytes.Clone(s.conn.buf[:end+1])
			line, _ := cutLine(&s.conn.buf)
			return line, s.countCommand()
		}
		if err := s.fill(); err != nil {
			return "", err
		}
	}
}

func (s *Session) countCommand() error {
	s.commands++
	if s.commands > maxCommands {
		return ErrTooMany
	}
	return nil
}

// Peek returns the next n octets without consuming them, all of them or an
// error. n beyond the protocol's limit is ErrLineTooLong.
func (s *Session) Peek(n int) ([]byte, error) {
	if n < 0 || n > s.maxLine {
		return nil, ErrLineTooLong
	}
	for len(s.conn.buf) < n {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	return s.conn.buf[:n], nil
}

// Buffered returns what has been read and not consumed, without reading.
func (s *Session) Buffered() []byte { return s.conn.buf }

// More reads once, so that Buffered has more than before.
func (s *Session) More() error {
	if len(s.conn.buf) >= s.maxLine {
		return ErrLineTooLong
	}
	return s.fill()
}

// Next consumes n octets and returns a copy of them. It counts as a command.
func (s *Session) Next(n int) ([]byte, error) {
	p, err := s.Peek(n)
	if err != nil {
		return nil, err
	}
	p = bytes.Clone(p)
	s.conn.buf = s.conn.buf[n:]
	s.last = p
	return p, s.countCommand()
}

// Discard consumes n octets, which may be more than a line has room for, but
// not more than is allowed before TLS.
func (s *Session) Discard(n int64) error {
	if n < 0 || n > maxBytes {
		return ErrTooMany
	}
	for n > 0 {
		if len(s.conn.buf) == 0 {
			if err := s.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(len(s.conn.buf)))
		s.conn.buf = s.conn.buf[k:]
		n -= k
	}
	return nil
}

func (s *Session) fill() error {
	if s.received >= maxBytes {
		return ErrTooMany
	}
	before := len(s.conn.buf)
	err := s.conn.fill()
	s.received += len(s.conn.buf) - before
	return asNegotiationError(err)
}

// Reply sends lines, each ended with CRLF, in one write.
func (s *Session) Reply(lines ...string) error { return s.Send(crlf(lines)) }

// Refuse is Reply for a command that is refused. The session ends with
// ErrTooMany when there have been too many of them.
func (s *Session) Refuse(lines ...string) error { return s.SendRefusal(crlf(lines)) }

// Insist is Refuse for a command that only the backend can answer. If clients may
// go on in clear, and may authenticate so where the command does, it is the end of
// the negotiation instead: the backend gets the command.
func (s *Session) Insist(auth bool, lines ...string) error {
	return s.SendInsistence(auth, crlf(lines))
}

// SendInsistence is Insist for protocols that are not made of lines.
func (s *Session) SendInsistence(auth bool, p []byte) error {
	if !s.conn.config.Optional || auth && !s.PlaintextAuth() {
		return s.SendRefusal(p)
	}
	s.conn.buf = append(s.last, s.conn.buf...)
	return errCommitted
}

// Resume keeps what the client has established so far, in the words in which a
// backend is to be told should the client go on in clear. TLS makes it void.
func (s *Session) Resume(words string) { s.resume = []byte(words) }

// Plain tells whether the client has gone on in clear.
func (s *Session) Plain() bool { return s.conn.committed }

// Direct tells whether the client began with TLS, and so waits for a greeting there.
func (s *Session) Direct() bool { return s.conn.direct }

// PlaintextAuth tells whether a client may send its password in clear.
func (s *Session) PlaintextAuth() bool {
	return s.conn.config.Optional && s.conn.config.PlaintextAuth
}

// Send sends bytes in one write. A client that has a reply before it has asked is
// told so by ErrPipelined: no such reply can be the answer.
func (s *Session) Send(p []byte) error {
	if s.conn.client && (len(s.conn.buf) > 0 || s.conn.prefetched()) {
		return ErrPipelined
	}
	s.written = true
	_, err := s.conn.raw.Write(p)
	return asNegotiationError(err)
}

// SendRefusal is Refuse for protocols that are not made of lines.
func (s *Session) SendRefusal(p []byte) error {
	if err := s.Send(p); err != nil {
		return err
	}
	s.refusals++
	if s.refusals >= maxRefusals {
		return ErrTooMany
	}
	return nil
}

// GoAhead leaves lines as the reply after which TLS starts. They are sent once
// it is sure that the client waits for them.
func (s *Session) GoAhead(lines ...string) error { return s.SendGoAhead(crlf(lines)) }

// SendGoAhead is GoAhead for protocols that are not made of lines.
func (s *Session) SendGoAhead(p []byte) error {
	s.goAhead = p
	return nil
}

func crlf(lines []string) []byte {
	return []byte(strings.Join(lines, "\r\n") + "\r\n")
}

// cutLine takes the first line out of buf, without its LF or CRLF.
func cutLine(buf *[]byte) (line string, ok bool) {
	end := bytes.IndexByte(*buf, '\n')
	if end < 0 {
		return "", false
	}
	line = string((*buf)[:end])
	*buf = (*buf)[end+1:]
	return strings.TrimSuffix(line, "\r"), true
}

// printable reports whether a line is free of control characters: NUL, bare CR
// and their like have no place in a command, and none in a log.
func printable(line string) bool {
	return !strings.ContainsFunc(line, func(r rune) bool {
		return r < ' ' && r != '\t' || r == 0x7f
	})
}

// splitVerb splits a command line into its verb, in upper case, and the rest. A
// line with control characters has no verb, and is no command that anyone knows.
func splitVerb(line string) (verb, arg string) {
	if !printable(line) {
		return "", ""
	}
	verb, arg, _ = strings.Cut(line, " ")
	return strings.ToUpper(verb), strings.TrimSpace(arg)
}

var _ io.Writer = (*Conn)(nil)
