package upgrade_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A server wraps its listener. What it accepts has been upgraded by the first Read, so
// the server sees the client's first command inside TLS.
func ExampleNewListener() {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go visit(inner.Addr())

	ln := upgrade.NewListener(inner, upgrade.SMTP, &upgrade.Config{
		TLS:      serverTLS, // a *tls.Config with a certificate
		Hostname: "mail.example.com",
	})
	defer ln.Close()
	conn, err := ln.Accept()
	if err != nil {
		log.Fatal(err)
	}
	line, err := conn.(*upgrade.Conn).ReadLine() // greets, upgrades, then reads
	fmt.Println(line, err)

	// Output: EHLO client.example <nil>
}

// visit is a client of the server above.
func visit(addr net.Addr) {
	config := &upgrade.Config{TLS: clientTLS, Hostname: "client.example"}
	conn, err := upgrade.Dial(context.Background(), "tcp", addr.String(), upgrade.SMTP, config)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "EHLO client.example\r\n")
	_, _ = conn.ReadLine() // until the server is done
}

// A client dials, and the connection is upgraded and verified. The session goes on as
// the protocol has it after the upgrade, here with a second EHLO.
func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	addr := startSMTP()

	conn, err := upgrade.Dial(ctx, "tcp", addr, upgrade.SMTP, &upgrade.Config{
		TLS:      clientTLS, // nil: the system's roots, and the host in addr
		Hostname: "client.example",
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "EHLO client.example\r\n")
	line, err := conn.ReadLine()
	fmt.Println(line, err)

	// Output: 250 hello, client.example <nil>
}

// A package that dials by itself is given a Dialer's method. Here it is net/http, which knows no
// upgrade to TLS, and with a URL of http leaves TLS to the Dialer.
func ExampleDialer() {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ln := upgrade.NewListener(inner, upgrade.HTTP, &upgrade.Config{TLS: serverTLS})
	defer ln.Close()
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "inside TLS")
	})}
	go func() { _ = server.Serve(ln) }()

	dialer := &upgrade.Dialer{Protocol: upgrade.HTTP, Config: &upgrade.Config{TLS: clientTLS}}
	client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}, Timeout: time.Minute}
	response, err := client.Get("http://" + inner.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	fmt.Println(string(text), err)

	// Output: inside TLS <nil>
}

// startSMTP runs a server that answers EHLO, inside TLS.
func startSMTP() (addr string) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		defer inner.Close()
		raw, err := inner.Accept()
		if err != nil {
			log.Fatal(err)
		}
		config := &upgrade.Config{TLS: serverTLS, Hostname: "mail.example.com"}
		conn, err := upgrade.Accept(context.Background(), raw, upgrade.SMTP, config)
		if err != nil {
			log.Fatal(err)
		}
		defer conn.Close()
		line, _ := conn.ReadLine()
		fmt.Fprintf(conn, "250 hello, %s\r\n", line[len("EHLO "):])
	}()
	return inner.Addr().String()
}

// Accept plays the server on a connection that a program has accepted itself.
func ExampleAccept() {
	server, client := net.Pipe()
	go func() {
		conn, err := upgrade.Request(context.Background(), client, upgrade.Postgres, &upgrade.Config{TLS: clientTLS})
		if err != nil {
			log.Fatal(err)
		}
		_, _ = conn.ReadLine() // until the server is done
		_ = conn.Close()
	}()

	conn, err := upgrade.Accept(context.Background(), server, upgrade.Postgres, &upgrade.Config{TLS: serverTLS})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	state, ok := conn.TLSConnectionState()
	fmt.Println(ok, state.ServerName, state.NegotiatedProtocol)

	// Output: true mail.example.com postgresql
}

// A program with a protocol of its own holds the plaintext conversation itself. The
// connection stays the same value, before TLS and after.
func ExampleConn_StartTLS() {
	server, client := net.Pipe()
	go askForTLS(client)

	conn := upgrade.Server(server, &upgrade.Config{TLS: serverTLS})
	defer conn.Close()
	for {
		line, err := conn.ReadLine()
		if err != nil {
			break
		}
		_, secure := conn.TLSConnectionState()
		fmt.Printf("%s, over TLS: %t\n", line, secure)
		if line == "STARTTLS" {
			if err := conn.StartTLS(context.Background()); err != nil {
				log.Fatal(err)
			}
		}
	}

	// Output:
	// PING, over TLS: false
	// STARTTLS, over TLS: false
	// PING, over TLS: true
}

// askForTLS is the client's side of the same.
func askForTLS(raw net.Conn) {
	conn := upgrade.Client(raw, &upgrade.Config{TLS: clientTLS})
	defer conn.Close()
	_, _ = io.WriteString(conn, "PING\nSTARTTLS\n")
	if err := conn.StartTLS(context.Background()); err != nil {
		log.Fatal(err)
	}
	_, _ = io.WriteString(conn, "PING\n")
}

// The two sides' configurations, around a certificate that is made here.
var serverTLS, clientTLS = func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mail.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		log.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	chain := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{chain}, NextProtos: []string{"smtp", "pop3", "postgresql", "http/1.1"}},
		&tls.Config{RootCAs: roots, ServerName: "mail.example.com"}
}()
