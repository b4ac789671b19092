package dialogue

import (
	"bytes"
	"cmp"
	"io"
	"time"
)

// RecordTypeHandshake begins every ClientHello (RFC 8446 section 5.1).
const RecordTypeHandshake = 0x16

// A Session is the plaintext phase of one connection, as a protocol's roles see
// it. It owns every byte before TLS: lines, messages, commands, refusals and the
// total are bounded, and deadlines are kept elsewhere. A role that gets an error
// from it returns it.
type Session struct {
	in     io.Reader
	out    io.Writer
	buf    []byte // read, not consumed
	room   []byte // what buf is a part of
	client bool   // we play the client
	opts   *Options

	forClient *Session // for whom we do, if it is to be heard

	limits                       Limits // without defaults
	received, commands, refusals int

	asked          int  // the command at which TLSAvailable was asked last
	available      bool // what it has said then
	refusedUpgrade bool // because the client has had too many
	limited        bool // that was so at any time

	goAhead           []byte
	answer            []byte // what AnswerInside has left
	hello, serverName string

	plaintextLogin, loginKnown bool // what a server has said of it
	triedLogin                 bool // a client before TLS, and was refused

	last          []byte // the command that was read last
	lastLine      []byte // room for it, where it is a line
	reply         []byte // room for what Reply sends
	granted       []byte // and for what GoAhead leaves
	kept          []byte // what Keep keeps
	introduction  []byte // what a client that stays in plaintext has established
	cleartext     bool   // the client does
	cancelRequest bool   // it has sent nothing but that
	spoken        bool   // we have sent something

	pause time.Duration // between the request and TLS
	resumption
}

// NewSession makes the plaintext phase of a connection, of which in may have a method
// Buffered that returns how many octets have been read ahead. client means that we play
// the client.
func NewSession(proto *Protocol, opts *Options, in io.Reader, out io.Writer, client bool) *Session {
	s := new(Session)
	s.Begin(proto, opts, in, out, client)
	return s
}

// Begin is NewSession for a Session that is zero, or that End has left.
func (s *Session) Begin(proto *Protocol, opts *Options, in io.Reader, out io.Writer, client bool) {
	s.in, s.out, s.client, s.opts, s.limits = in, out, client, opts, opts.Limits.ForProtocol(proto)
}

// End forgets everything, and keeps empty buffers of an ordinary size for the next Begin. What
// Result has as unread and as go-ahead is void then.
func (s *Session) End() {
	*s = Session{room: emptied(s.room), lastLine: emptied(s.lastLine), reply: emptied(s.reply), granted: emptied(s.granted)}
}

// emptied overwrites what a buffer has, which may be a password.
func emptied(buf []byte) []byte {
	buf = buf[:cap(buf)]
	clear(buf)
	if len(buf) > mostRoom {
		return nil
	}
	return buf[:0]
}

// For has a client's role hear the client for whom it asks.
func (s *Session) For(client *Session) { s.forClient = client }

// Client is the plaintext phase with the client for whom the upgrade is asked for, in
// which we are the server; nil if nobody waits. What is read there and not consumed is for
// the filter. What goes wrong with it is a ClientError.
func (s *Session) Client() *Session { return s.forClient }

// A Result is what a Session leaves.
type Result struct {
	Cleartext         bool // the client stays in plaintext
	CancelRequest     bool // and has nothing to say but what is unread, as Session.CancelRequest says
	Hello, ServerName string

	// PlaintextLogin is what SetPlaintextLogin was told, if it was.
	PlaintextLogin, PlaintextLoginKnown bool

	TriedLogin bool // as Session.RefuseLogin says

	Kept, Introduction []byte

	GoAhead []byte // not sent yet
	Answer  []byte // to be said inside TLS
	Unread  []byte // what has been read and not consumed
}

// Result ends the Session.
func (s *Session) Result() Result {
	r := Result{
		Cleartext: s.cleartext, CancelRequest: s.cancelRequest, Hello: s.hello, ServerName: s.serverName,
		PlaintextLogin: s.plaintextLogin, PlaintextLoginKnown: s.loginKnown, TriedLogin: s.triedLogin,
		Kept: s.kept, Introduction: s.introduction, GoAhead: s.goAhead, Answer: s.answer, Unread: s.buf,
	}
	s.buf = nil
	return r
}

// Hostname is our own name.
func (s *Session) Hostname() string { return s.opts.Hostname }

// Hostnames are all names of ours.
func (s *Session) Hostnames() []string {
	if s.opts.Hostnames == nil {
		return []string{s.opts.Hostname}
	}
	return s.opts.Hostnames
}

// Greeting is the configured greeting text, or else the given one.
func (s *Session) Greeting(otherwise string) string { return cmp.Or(s.opts.Greeting, otherwise) }

// Capabilities are the configured ones, or else the given ones.
func (s *Session) Capabilities(otherwise ...string) []string {
	if s.opts.Capabilities != nil {
		return s.opts.Capabilities
	}
	return otherwise
}

// PeerName is, for a client, the server's name as TLS will verify it.
func (s *Session) PeerName() string { return s.opts.PeerName }

// Option is one of the protocol's own options.
func (s *Session) Option(name string) string { return s.opts.Get(name) }

// Optional reports whether a client may stay in plaintext.
func (s *Session) Optional() bool { return s.opts.Optional }

// AnsweredInside reports whether what Keep keeps of a client for Protocol.AnsweredInside is read
// by somebody inside TLS. Nobody does who is passed the client's TLS.
func (s *Session) AnsweredInside() bool { return !s.opts.Passed }

// PlaintextAuth reports whether a client may send its password in plaintext.
func (s *Session) PlaintextAuth() bool { return s.opts.Optional && s.opts.PlaintextAuth }

// ServerName is the name that SetServerName has kept.
func (s *Session) ServerName() string { return s.serverName }

// SetHello keeps the name that the client gave itself, for logs only.
func (s *Session) SetHello(name string) {
	if len(name) <= 255 && Printable(name) {
		s.hello = name
	}
}

// SetServerName keeps the name of the host that the client asked for in plaintext.
// It serves to choose a certificate for a client that sends no SNI.
func (s *Session) SetServerName(name string) {
	if len(name) <= 255 && Printable(name) {
		s.serverName = name
	}
}

// SetPlaintextLogin keeps, for a client, whether the server lets it log in without
// TLS. A later word counts more than an earlier one.
func (s *Session) SetPlaintextLogin(offered bool) { s.plaintextLogin, s.loginKnown = offered, true }

// ReadLine reads a line and returns it without its LF or CRLF. It counts as a
// command. A ClientHello in place of a line is ErrMalformed.
func (s *Session) ReadLine() (string, error) {
	for {
		if len(s.buf) > 0 && s.buf[0] == RecordTypeHandshake {
			return "", ErrMalformed
		}
		end := bytes.IndexByte(s.buf, '\n')
		if end >= s.limits.Message || (end < 0 && len(s.buf) >= s.limits.Message) {
			return "", ErrLineTooLong
		}
		if end >= 0 {
			s.lastLine = append(s.lastLine[:0], s.buf[:end+1]...)
			s.last = s.lastLine
			line, _ := CutLine(&s.buf)
			return line, s.countCommand()
		}
		if err := s.fill(); err != nil {
			return "", err
		}
	}
}

// ReadBlock reads lines up to a dot alone on its line, as it ends what POP3 and NNTP list. It returns
// them without it, and with an error those that came before.
func (s *Session) ReadBlock() (lines []string, err error) {
	for {
		line, err := s.ReadLine()
		if err != nil || line == "." {
			return lines, err
		}
		lines = append(lines, line)
	}
}

// Peek returns the next n octets without consuming them, all of them or an
// error. n beyond the protocol's limit is ErrLineTooLong.
func (s *Session) Peek(n int) ([]byte, error) {
	if n < 0 || n > s.limits.Message {
		return nil, ErrLineTooLong
	}
	for len(s.buf) < n {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	return s.buf[:n], nil
}

// Buffered returns what has been read and not consumed, without reading.
func (s *Session) Buffered() []byte { return s.buf }

// More reads once, so that Buffered has more than before. If it has as much as a line may have
// (Limits.Message) already, that is ErrLineTooLong.
func (s *Session) More() error {
	if len(s.buf) >= s.limits.Message {
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
	s.buf = s.buf[n:]
	s.last = p
	return p, s.countCommand()
}

// NextWith is Next for a message that begins with prefix. Of what does not it waits for no more than
// the octet that tells, and is ErrMalformed.
func (s *Session) NextWith(prefix string, n int) ([]byte, error) {
	for i := range len(prefix) {
		p, err := s.Peek(i + 1)
		switch {
		case err != nil:
			return nil, err
		case p[i] != prefix[i]:
			return nil, ErrMalformed
		}
	}
	return s.Next(n)
}

// Discard consumes n octets, which may be more than a line has room for, but
// not more than is allowed before TLS.
func (s *Session) Discard(n int64) error {
	if n < 0 || n > int64(s.limits.Bytes) {
		return ErrTooMany
	}
	for n > 0 {
		if len(s.buf) == 0 {
			if err := s.fill(); err != nil {
				return err
			}
		}
		k := min(n, int64(len(s.buf)))
		s.buf = s.buf[k:]
		n -= k
	}
	return nil
}

// Spoken reports whether we have sent anything.
func (s *Session) Spoken() bool { return s.spoken }

// Pipelined reports whether more has arrived than was consumed.
func (s *Session) Pipelined() bool {
	b, ok := s.in.(interface{ Buffered() int })
	return len(s.buf) > 0 || ok && b.Buffered() > 0
}

// LineEnd is the one that the client's last line had: LF or CRLF.
func (s *Session) LineEnd() string {
	if bytes.HasSuffix(s.last, []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}
