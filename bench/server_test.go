package bench

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const serverName = "up.example.com"

// A server takes and gives bytes: in plaintext, with TLS from the beginning, and with
// TLS by STARTTLS.
type server struct {
	plain, implicit, upgraded string // addresses
	trust                     string // a file with the certificate
}

func newServer(b *testing.B) *server {
	b.Helper()
	cert, file := newCertificate(b)
	config := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	listen := func(wrap func(net.Listener) net.Listener) string {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(b, err)
		b.Cleanup(func() { _ = ln.Close() })
		go serve(wrap(ln))
		return ln.Addr().String()
	}
	return &server{
		trust:    file,
		plain:    listen(func(ln net.Listener) net.Listener { return ln }),
		implicit: listen(func(ln net.Listener) net.Listener { return tls.NewListener(ln, config) }),
		upgraded: listen(func(ln net.Listener) net.Listener {
			return upgrade.NewListener(ln, upgrade.SMTP, &upgrade.Config{TLS: config})
		}),
	}
}

func newCertificate(b *testing.B) (cert tls.Certificate, file string) {
	b.Helper()
	c := testkit.SelfSigned(b, serverName)
	text, _ := testkit.PEM(b, c)
	return *c, testkit.WriteFile(b, b.TempDir(), "cert.pem", string(text))
}

func serve(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_ = serveConn(conn)
		}()
	}
}

// serveConn does what the client asks for.
func serveConn(conn net.Conn) error {
	request := make([]byte, 9)
	if _, err := io.ReadFull(conn, request); err != nil {
		return err
	}
	size := binary.BigEndian.Uint64(request[1:])
	if request[0] == toDownstream {
		return pour(conn, int(size))
	}
	if _, err := io.CopyBuffer(discard{}, io.LimitReader(conn, int64(size)), make([]byte, 64<<10)); err != nil {
		return err
	}
	_, err := conn.Write([]byte{'.'})
	return err
}
