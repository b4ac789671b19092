package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// A service is one protocol: a server of Caddy's, a backend, and a client that tries
// them out.
type service struct {
	title    string
	protocol string
	listen   string // where Caddy listens; the Caddyfile says the same
	backend  string // where the backend does
	serve    func(conn net.Conn) error
	say      string // what a client says inside TLS
	answer   string // part of what it is answered
	try      string // the same for a shell; CONNECT stands for what names the server
	expect   string // part of what the shell shows
}

func services() []*service {
	return []*service{
		{
			title: "SMTP", protocol: "smtp", listen: "127.0.0.1:2587", backend: "127.0.0.1:2588",
			serve: serveSMTP, say: mailTransaction, answer: "250 2.0.0 Accepted",
			try: typed(mailTransaction) + " | openssl s_client -quiet -crlf -starttls smtp CONNECT", expect: "250 2.0.0 Accepted",
		},
		{
			title: "IMAP", protocol: "imap", listen: "127.0.0.1:1143", backend: "127.0.0.1:1144",
			serve: serveIMAP, say: mailboxVisit, answer: "It came over TLS.",
			try: typed(mailboxVisit) + " | openssl s_client -quiet -crlf -starttls imap CONNECT", expect: "It came over TLS.",
		},
		{
			title: "PostgreSQL", protocol: "postgres", listen: "127.0.0.1:15432", backend: "127.0.0.1:15433",
			serve: servePostgres, say: databaseVisit(), answer: databaseRow,
			try: "openssl s_client -brief -starttls postgres CONNECT </dev/null", expect: "Verification: OK",
		},
	}
}

const (
	mailTransaction = "EHLO me\r\nMAIL FROM:<me@example.com>\r\nRCPT TO:<you@example.com>\r\nDATA\r\n" +
		"Subject: Hello\r\n\r\nIt works.\r\n.\r\nQUIT\r\n"
	mailboxVisit = "a LOGIN me secret\r\nb SELECT INBOX\r\nc FETCH 1 BODY[]\r\nd LOGOUT\r\n"
)

// typed is a shell command that types lines; CRs are left to openssl's -crlf.
func typed(lines string) string {
	return "printf '" + strings.NewReplacer("\r\n", `\n`).Replace(lines) + "'"
}

// command is what to try in a shell.
func (s *service) command(root string) string {
	connect := fmt.Sprintf("-connect %s -CAfile '%s' -servername localhost -verify_hostname localhost -verify_return_error", s.listen, root)
	return strings.Replace(s.try, "CONNECT", connect, 1)
}

// serveAll runs all backends.
func serveAll(ctx context.Context, all []*service) (stop func(), err error) {
	var listeners []net.Listener
	stop = func() {
		for _, ln := range listeners {
			_ = ln.Close()
		}
	}
	for _, s := range all {
		ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.backend)
		if err != nil {
			stop()
			return nil, err
		}
		listeners = append(listeners, ln)
		go acceptAll(ln, s.serve)
	}
	return stop, nil
}

func acceptAll(ln net.Listener, serve func(net.Conn) error) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Minute))
			if err := serve(conn); err != nil {
				fmt.Printf("%s ended: %v\n", conn.LocalAddr(), err)
			}
			_ = conn.Close()
		}()
	}
}
