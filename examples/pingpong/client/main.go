// Command client sends PING, upgrades to TLS, and sends PING again.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

func main() {
	connect := flag.String("connect", "127.0.0.1:10001", "address of the server")
	caFile := flag.String("ca", "cert.pem", "certificate to trust")
	name := flag.String("name", "localhost", "name that the server's certificate must have")
	pause := flag.Duration("pause", 100*time.Millisecond, "wait between STARTTLS and TLS")
	flag.Parse()
	pem, err := os.ReadFile(*caFile)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatalf("no certificate in %s", *caFile)
	}
	raw, err := net.Dial("tcp", *connect)
	if err != nil {
		log.Fatal(err)
	}
	conn := upgrade.Client(raw, &upgrade.Config{
		TLS: &tls.Config{RootCAs: roots, ServerName: *name, MinVersion: tls.VersionTLS12},
	})
	if err := talk(conn, *pause); err != nil {
		log.Fatal(err)
	}
}

// talk holds the conversation. The client's TLS begins right behind STARTTLS: the
// server gives no go-ahead. The pause is for servers whose line reader would take
// the ClientHello along with the line and lose it, as Python's asyncio did until
// https://github.com/python/cpython/issues/142352; ours needs none.
func talk(conn *upgrade.Conn, pause time.Duration) error {
	if err := ping(conn); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "STARTTLS\n"); err != nil {
		return err
	}
	time.Sleep(pause)
	if err := conn.StartTLS(context.Background()); err != nil {
		return err
	}
	if err := ping(conn); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, "QUIT\n"); err != nil {
		return err
	}
	return conn.Close()
}

func ping(conn *upgrade.Conn) error {
	if _, err := io.WriteString(conn, "PING\n"); err != nil {
		return err
	}
	line, err := conn.ReadLine()
	if err != nil {
		return err
	}
	state, secure := conn.TLSConnectionState()
	if !secure {
		fmt.Println(line, "in plaintext")
		return nil
	}
	fmt.Println(line, "over", tls.VersionName(state.Version))
	return nil
}
