package main

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// A mailboxSession is one of IMAP.
type mailboxSession struct {
	imapserver.Session
	mail *mail
	conn net.Conn
}

func (s *mailboxSession) Login(name, word string) error {
	if !s.mail.secure(s.conn) {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodePrivacyRequired, Text: "TLS is required"}
	}
	fmt.Println("imap: login from", s.conn.RemoteAddr())
	return s.Session.Login(name, word)
}

// A submission is a session of SMTP.
type submission struct {
	mail     *mail
	conn     *smtp.Conn
	loggedIn bool
}

func (m *mail) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &submission{mail: m, conn: c}, nil
}

func (s *submission) AuthMechanisms() []string {
	if !s.mail.secure(s.conn.Conn()) {
		return nil
	}
	return []string{sasl.Plain}
}

func (s *submission) Auth(string) (sasl.Server, error) {
	if !s.mail.secure(s.conn.Conn()) {
		return nil, smtp.ErrAuthUnsupported
	}
	return sasl.NewPlainServer(func(_, name, word string) error {
		if name != user || word != password {
			return smtp.ErrAuthFailed
		}
		s.loggedIn = true
		return nil
	}), nil
}

func (s *submission) Mail(string, *smtp.MailOptions) error {
	if !s.loggedIn {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *submission) Rcpt(string, *smtp.RcptOptions) error { return nil }

// Data has the client's address in front, as a Received field.
func (s *submission) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(s.conn.Conn().RemoteAddr().String())
	if err != nil {
		return err
	}
	received := fmt.Sprintf("Received: from %s ([%s]) by mail.example.com\r\n%s", s.conn.Hostname(), host, text)
	_, err = s.mail.mailbox.Append("INBOX", literal{strings.NewReader(received)}, &imap.AppendOptions{})
	return err
}

func (s *submission) Reset()        {}
func (s *submission) Logout() error { return nil }

// A literal is a text that knows its length.
type literal struct{ *strings.Reader }

func (l literal) Size() int64 { return l.Reader.Size() }
