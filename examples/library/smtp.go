// Package library shows clients for protocols that other packages know, on connections
// that the package upgrade has dialled, upgraded and verified.
package library

import (
	"context"
	"fmt"
	"net/smtp"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/netsmtp"
)

// A Mail is what is sent, and to whom.
type Mail struct {
	From string
	To   []string
	Text []byte // header and body
}

// SendMail is smtp.SendMail with a context, and without its fallback: it sends nothing to
// a server that does not upgrade to TLS with a certificate for the host in addr, or for
// config.TLS.ServerName. That name is also the host that smtp.PlainAuth wants.
func SendMail(ctx context.Context, addr string, config *upgrade.Config, auth smtp.Auth, mail Mail) error {
	conn, err := upgrade.Dial(ctx, "tcp", addr, upgrade.SMTP, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	err = submit(conn, config, auth, mail)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// submit has net/smtp do what is left. It begins with EHLO, as it must after STARTTLS.
func submit(conn *upgrade.Conn, config *upgrade.Config, auth smtp.Auth, mail Mail) error {
	state, _ := conn.TLSConnectionState()
	client, err := netsmtp.NewClient(conn, state.ServerName)
	if err != nil {
		return err
	}
	if config != nil && config.Hostname != "" {
		if err := client.Hello(config.Hostname); err != nil {
			return err
		}
	}
	if err := client.Auth(netsmtp.Auth(conn, auth)); err != nil {
		return fmt.Errorf("logging in: %w", err)
	}
	return send(client, mail)
}

// send sends a mail in a session that is logged in.
func send(client *smtp.Client, mail Mail) error {
	if err := client.Mail(mail.From); err != nil {
		return err
	}
	for _, to := range mail.To {
		if err := client.Rcpt(to); err != nil {
			return err
		}
	}
	body, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := body.Write(mail.Text); err != nil {
		return err
	}
	if err := body.Close(); err != nil {
		return err
	}
	return client.Quit()
}
