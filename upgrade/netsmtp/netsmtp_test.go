package netsmtp_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/netsmtp"
)

// host is not "localhost", to which smtp.PlainAuth would send a password in plaintext.
const host = "mail.example.com"

// startServer runs a server that lets everybody in who logs in inside TLS.
func startServer(t *testing.T) (addr string, client *upgrade.Config) {
	cert := testkit.SelfSigned(t, host)
	addr = testkit.Serve(t, "127.0.0.1:0", func(raw net.Conn) {
		conn, err := upgrade.Accept(t.Context(), raw, upgrade.SMTP, &upgrade.Config{TLS: &tls.Config{Certificates: []tls.Certificate{*cert}}})
		if err == nil {
			serve(conn)
		}
	})
	return addr, &upgrade.Config{TLS: &tls.Config{RootCAs: testkit.Trust(cert), ServerName: host}}
}

func serve(conn *upgrade.Conn) {
	for {
		line, err := conn.ReadLine()
		if err != nil {
			return
		}
		answer := "500 what?"
		switch verb, _, _ := strings.Cut(line, " "); verb {
		case "EHLO":
			answer = "250-hello\r\n250 AUTH PLAIN"
		case "AUTH":
			answer = "235 welcome"
		case "QUIT":
			answer = "221 bye"
		}
		if _, err := conn.Write([]byte(answer + "\r\n")); err != nil {
			return
		}
	}
}

func dial(t *testing.T) *upgrade.Conn {
	addr, config := startServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := upgrade.Dial(ctx, "tcp", addr, upgrade.SMTP, config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn
}

func TestClientLogsIn(t *testing.T) {
	conn := dial(t)
	client, err := netsmtp.NewClient(conn, host)
	require.NoError(t, err)
	offered, mechanisms := client.Extension("AUTH")
	require.True(t, offered)
	require.Equal(t, "PLAIN", mechanisms)
	require.NoError(t, client.Auth(netsmtp.Auth(conn, smtp.PlainAuth("", "alice", "open sesame", host))))
	require.NoError(t, client.Quit())
}

// What the adapters are for. If net/smtp does without one day, so can its users.
func TestWithoutTheAdapterThereIsNoPassword(t *testing.T) {
	conn := dial(t)
	client, err := netsmtp.NewClient(conn, host)
	require.NoError(t, err)
	require.EqualError(t, client.Auth(smtp.PlainAuth("", "alice", "open sesame", host)), "unencrypted connection")
}

func TestAnotherNameGetsNoPassword(t *testing.T) {
	conn := dial(t)
	client, err := netsmtp.NewClient(conn, host)
	require.NoError(t, err)
	require.EqualError(t, client.Auth(netsmtp.Auth(conn, smtp.PlainAuth("", "alice", "open sesame", "other.example.com"))), "wrong host name")
}

func TestNothingIsSaidInPlaintext(t *testing.T) {
	client, server := net.Pipe()
	defer func() { _ = server.Close() }()
	conn := upgrade.Client(client, nil)
	_, _, err := netsmtp.Auth(conn, smtp.PlainAuth("", "alice", "open sesame", host)).Start(&smtp.ServerInfo{Name: host, TLS: true, Auth: []string{"PLAIN"}})
	require.EqualError(t, err, "unencrypted connection")
	_, err = netsmtp.NewClient(conn, host)
	require.EqualError(t, err, "netsmtp: no TLS on this connection")
	_, err = client.Write([]byte("more"))
	require.ErrorIs(t, err, io.ErrClosedPipe, "closed, as after any other error")
}
