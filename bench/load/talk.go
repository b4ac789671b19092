package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"
)

// A turn is what a client says, and what it then waits for.
type turn struct{ say, want string }

// A talk is how a client begins.
type talk struct {
	plain  []turn // before TLS
	inside []turn // behind it
	clear  bool   // there is no TLS on the client's side
}

const (
	ehlo      = "EHLO c.example\r\n"
	ldapBind  = "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"
	ldapBound = "\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00"

	pgStartup = "\x00\x00\x00\x23\x00\x03\x00\x00user\x00bench\x00database\x00bench\x00\x00"
	pgReady   = "Z\x00\x00\x00\x05I"
	pgQuery   = "Q\x00\x00\x00\x0dSELECT 1\x00"
)

var (
	noop      = turn{"NOOP\r\n", "250 "}
	introduce = turn{ehlo, "250 "}
	envelope  = []turn{{"MAIL FROM:<a@c.example>\r\n", "250 "}, {"RCPT TO:<b@mail.example.com>\r\n", "250 "}}

	smtpPlain = []turn{{"", "220 "}, introduce, {"STARTTLS\r\n", "220 "}}
	imapPlain = []turn{{"", "* OK"}, {"a STARTTLS\r\n", "a OK"}}
	popPlain  = []turn{{"", "+OK"}, {"STLS\r\n", "+OK"}}
	pgPlain   = []turn{{"\x00\x00\x00\x08\x04\xd2\x16\x2f", "S"}}
	ldapPlain = []turn{{"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", "\x0a\x01\x00"}}

	// Talks of TLS from the beginning and of each protocol, up to the first answer of the
	// backend.
	implicit  = talk{inside: []turn{{"", "220 "}, noop}}
	smtp      = talk{plain: smtpPlain, inside: []turn{noop}}
	smtpMail  = talk{plain: smtpPlain, inside: append([]turn{introduce}, envelope...)}
	imap      = talk{plain: imapPlain, inside: []turn{{"b NOOP\r\n", "b OK"}}}
	imapLogin = talk{plain: imapPlain, inside: []turn{{"b LOGIN user secret\r\n", "b OK"}}}
	pop3      = talk{plain: popPlain, inside: []turn{{"NOOP\r\n", "+OK"}}}
	pop3Login = talk{plain: popPlain, inside: []turn{{"USER user\r\n", "+OK"}, {"PASS secret\r\n", "+OK"}}}
	postgres  = talk{plain: pgPlain, inside: []turn{{pgStartup, pgReady}, {pgQuery, pgReady}}}
	ldap      = talk{plain: ldapPlain, inside: []turn{{ldapBind, ldapBound}}}

	// Talks up to a state in which much is to be transferred.
	implicitMail = talk{inside: append([]turn{{"", "220 "}, introduce}, envelope...)}
	clearMail    = talk{clear: true, inside: append([]turn{{"", "220 "}, introduce}, envelope...)}
)

// A session is a client's.
type session struct {
	net.Conn
	raw net.Conn
}

// open begins a session. Its buffer may be nil.
func (t *target) open(config *tls.Config, patience time.Duration) (*session, error) {
	raw, err := net.DialTimeout("tcp", t.address, patience)
	if err != nil {
		return nil, err
	}
	s := &session{raw: raw, Conn: raw}
	if err = raw.SetDeadline(time.Now().Add(patience)); err == nil {
		err = s.talk(t.talk, config)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("%s: %w", t.name, err)
	}
	return s, nil
}

func (s *session) talk(t talk, config *tls.Config) error {
	if err := s.say(t.plain); err != nil {
		return err
	}
	if !t.clear {
		conn := tls.Client(s.raw, config)
		if err := conn.Handshake(); err != nil {
			return err
		}
		s.Conn = conn
	}
	return s.say(t.inside)
}

func (s *session) say(turns []turn) error {
	var room [2048]byte
	for _, t := range turns {
		if t.say != "" {
			if _, err := io.WriteString(s.Conn, t.say); err != nil {
				return err
			}
		}
		got := room[:0]
		for !bytes.Contains(got, []byte(t.want)) || t.want == "250 " && !bytes.HasSuffix(got, []byte("\n")) {
			n, err := s.Read(room[len(got):])
			got = room[:len(got)+n]
			if err != nil {
				return fmt.Errorf("%w: behind %q, waiting for %q", err, got, t.want)
			}
		}
	}
	return nil
}

// abort ends a session at once, without a port in TIME_WAIT.
func (s *session) abort() {
	if tcp, ok := s.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = s.raw.Close()
}
