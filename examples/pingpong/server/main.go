// Command server answers PING with PONG, in plaintext and over TLS.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:10001", "address to listen on")
	certFile := flag.String("cert", "cert.pem", "certificate chain")
	keyFile := flag.String("key", "key.pem", "private key")
	flag.Parse()
	cert, err := tls.LoadX509KeyPair(*certFile, *keyFile)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Println("listening on", ln.Addr())
	config := &upgrade.Config{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	for {
		raw, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			log.Println(raw.RemoteAddr(), "left:", serve(upgrade.Server(raw, config)))
			_ = raw.Close()
		}()
	}
}

// serve holds one conversation, which goes on where it was after STARTTLS.
func serve(conn *upgrade.Conn) error {
	for {
		line, err := conn.ReadLine()
		if err != nil {
			return err
		}
		_, secure := conn.TLSConnectionState()
		log.Printf("%s: %q, TLS: %t", conn.RemoteAddr(), line, secure)
		switch line {
		case "PING":
			_, err = io.WriteString(conn, "PONG\n")
		case "STARTTLS":
			err = conn.StartTLS(context.Background())
		case "QUIT":
			return conn.Close()
		default:
			err = fmt.Errorf("unknown command %q", line)
		}
		if err != nil {
			return err
		}
	}
}
