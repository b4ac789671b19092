package library

import (
	"context"
	"errors"
	"io"
	"net/smtp"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	smtpserver "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A mailbox is a backend of a server with an upgrade of its own. It takes mail from one
// user, after it has let the test have a look at the envelope.
type mailbox struct {
	conn     *smtpserver.Conn
	mail     Mail
	envelope func(Mail) error
	got      chan<- arrival
}

// An arrival is a mail, and the name that the client gave itself inside TLS.
type arrival struct {
	hello string
	Mail
}

func (m *mailbox) AuthMechanisms() []string { return []string{sasl.Plain} }
func (m *mailbox) Reset()                   {}
func (m *mailbox) Logout() error            { return nil }

func (m *mailbox) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, name, secret string) error {
		if name != user || secret != password {
			return smtpserver.ErrAuthFailed
		}
		m.mail = Mail{From: name}
		return nil
	}), nil
}

func (m *mailbox) Mail(from string, _ *smtpserver.MailOptions) error {
	if m.mail.From == "" {
		return smtpserver.ErrAuthRequired
	}
	m.mail.From = from
	return m.envelope(m.mail)
}

func (m *mailbox) Rcpt(to string, _ *smtpserver.RcptOptions) error {
	m.mail.To = append(m.mail.To, to)
	return nil
}

func (m *mailbox) Data(r io.Reader) (err error) {
	m.mail.Text, err = io.ReadAll(r)
	m.got <- arrival{m.conn.Hostname(), m.mail}
	return err
}

// startSMTP runs a server. Its address and the mails that it takes are returned.
func startSMTP(t testing.TB, offersTLS bool, envelope func(Mail) error) (addr string, got <-chan arrival) {
	t.Helper()
	mails := make(chan arrival, 1)
	server := smtpserver.NewServer(smtpserver.BackendFunc(func(c *smtpserver.Conn) (smtpserver.Session, error) {
		return &mailbox{conn: c, envelope: envelope, got: mails}, nil
	}))
	server.Domain = host
	if offersTLS {
		server.TLSConfig = newPKI(t).server
	}
	ln := listen(t)
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	return ln.Addr().String(), mails
}

func anyEnvelope(Mail) error { return nil }

var hello = Mail{
	From: "alice@example.com",
	To:   []string{"bob@example.com", "carol@example.com"},
	Text: []byte("Subject: Hello\r\n\r\n.It came over TLS.\r\n"),
}

func TestSendMail(t *testing.T) {
	addr, got := startSMTP(t, true, anyEnvelope)
	auth := smtp.PlainAuth("", user, password, host)
	require.NoError(t, SendMail(within(t, 20*time.Second), addr, newPKI(t).client, auth, hello))
	require.Equal(t, arrival{"client.example.com", hello}, <-got)
}

// The password is for one host alone.
func TestSendMailToAnotherHost(t *testing.T) {
	addr, got := startSMTP(t, true, anyEnvelope)
	auth := smtp.PlainAuth("", user, password, "other.example.com")
	err := SendMail(within(t, 20*time.Second), addr, newPKI(t).client, auth, hello)
	require.ErrorContains(t, err, "wrong host name")
	require.Empty(t, got)
}

func TestSendMailSendsNothingInClear(t *testing.T) {
	addr, got := startSMTP(t, false, anyEnvelope)
	auth := smtp.PlainAuth("", user, password, host)
	err := SendMail(within(t, 20*time.Second), addr, newPKI(t).client, auth, hello)
	require.ErrorIs(t, err, upgrade.ErrNotOffered)
	require.Empty(t, got)
}

func TestSendMailRefused(t *testing.T) {
	addr, got := startSMTP(t, true, anyEnvelope)
	auth := smtp.PlainAuth("", user, "wrong", host)
	err := SendMail(within(t, 20*time.Second), addr, newPKI(t).client, auth, hello)
	require.ErrorContains(t, err, "logging in: 535")
	require.Empty(t, got)
}

func TestContextEndsSendMail(t *testing.T) {
	ctx, cancel := context.WithCancel(within(t, 20*time.Second))
	hang := make(chan struct{})
	addr, got := startSMTP(t, true, func(Mail) error {
		cancel()
		<-hang
		return errors.New("too late")
	})
	t.Cleanup(func() { close(hang) }) // before the server is stopped
	auth := smtp.PlainAuth("", user, password, host)
	err := SendMail(ctx, addr, newPKI(t).client, auth, hello)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, got)
}
