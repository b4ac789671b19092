package upgrade_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// An SMTP server that takes both kinds of clients on one port: those that begin with
// STARTTLS and those that begin with TLS. It sees what is said inside TLS alone.
func ExampleNewListener_bothKindsOfClients() {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ln := upgrade.NewListener(inner, upgrade.SMTP, &upgrade.Config{
		TLS:              serverTLS,
		Hostname:         "mail.example.com",
		ImplicitTLS:      true, // where the greeting waits for a ClientHello,
		ImplicitTLSDelay: time.Second,
	})
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go serveSMTP(conn.(*upgrade.Conn))
		}
	}()

	// A client that begins with STARTTLS, and one that begins with TLS.
	upgraded, err := upgrade.Dial(context.Background(), "tcp", inner.Addr().String(), upgrade.SMTP, &upgrade.Config{TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print("STARTTLS: ", converse(upgraded, "NOOP\r\n", "QUIT\r\n"))
	implicit, err := tls.Dial("tcp", inner.Addr().String(), clientTLS)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print("implicit: ", converse(implicit, "NOOP\r\n", "QUIT\r\n"))

	// Output:
	// STARTTLS: 250 2.0.0 Ok
	// 221 2.0.0 Bye
	// implicit: 220 mail.example.com ESMTP
	// 250 2.0.0 Ok
	// 221 2.0.0 Bye
}

// serveSMTP is the server. The first call negotiates with the client, on the goroutine
// that serves it.
func serveSMTP(conn *upgrade.Conn) {
	defer conn.Close()
	err := conn.Greet() // a client that began with TLS has had no greeting
	for line := ""; err == nil && line != "QUIT"; {
		if line, err = conn.ReadLine(); err == nil {
			_, err = io.WriteString(conn, answers[line])
		}
	}
}

var answers = map[string]string{"NOOP": "250 2.0.0 Ok\r\n", "QUIT": "221 2.0.0 Bye\r\n"}

// converse says its lines, and returns what it hears until the end.
func converse(conn net.Conn, lines ...string) string {
	defer conn.Close()
	_, _ = io.WriteString(conn, strings.Join(lines, ""))
	all, err := io.ReadAll(conn)
	if err != nil {
		log.Fatal(err)
	}
	return strings.ReplaceAll(string(all), "\r\n", "\n")
}

// Optional lets a client stay in plaintext, once it says what only a backend can answer.
// Outcome reports which clients do.
func ExampleConn_Outcome() {
	server, client := net.Pipe()
	go func() {
		_, _ = bufio.NewReader(client).ReadString('\n') // the greeting
		_, _ = io.WriteString(client, "HELP\r\n")
	}()

	conn, err := upgrade.Accept(context.Background(), server, upgrade.SMTP, &upgrade.Config{
		TLS:      serverTLS,
		Hostname: "mail.example.com",
		Optional: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	how := conn.Outcome()
	line, _ := conn.ReadLine() // what it has said is not lost
	fmt.Println(how.Cleartext, line)

	// Output: true HELP
}
