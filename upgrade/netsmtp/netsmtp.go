// Package netsmtp has the package net/smtp speak on connections that upgrade.Dial has made.
//
//	conn, err := upgrade.Dial(ctx, "tcp", "mail.example.com:587", upgrade.SMTP, nil)
//	...
//	client, err := netsmtp.NewClient(conn, "mail.example.com")
//	...
//	err = client.Auth(netsmtp.Auth(conn, smtp.PlainAuth("", user, password, "mail.example.com")))
//
// By itself net/smtp waits for a greeting, which came before TLS, and knows of TLS by the type
// *tls.Conn alone, so that smtp.PlainAuth sends no password.
package netsmtp

import (
	"errors"
	"net/smtp"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

var errNoTLS = errors.New("netsmtp: no TLS on this connection")

// NewClient is smtp.NewClient for a connection that has been upgraded as upgrade.SMTP. The client reads a greeting
// that Conn.Greet makes, and its EHLO has the server's capabilities inside TLS. host is the name
// that the certificate was verified for, which smtp.PlainAuth compares with its own.
//
// Closing the client closes conn, and so does an error. Client.TLSConnectionState knows of no TLS: ask conn.
func NewClient(conn *upgrade.Conn, host string) (*smtp.Client, error) {
	err := conn.Greet()
	if _, ok := conn.TLSConnectionState(); err == nil && !ok {
		err = errNoTLS
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return smtp.NewClient(conn, host)
}

// Auth tells auth whether there is TLS, by what is true of conn. Without TLS smtp.PlainAuth keeps
// its password to itself.
func Auth(conn *upgrade.Conn, auth smtp.Auth) smtp.Auth { return overTLS{auth, conn} }

type overTLS struct {
	smtp.Auth
	conn *upgrade.Conn
}

// Start implements smtp.Auth.
func (a overTLS) Start(server *smtp.ServerInfo) (string, []byte, error) {
	known := *server
	_, known.TLS = a.conn.TLSConnectionState()
	return a.Auth.Start(&known)
}
