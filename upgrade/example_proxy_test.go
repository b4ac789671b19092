package upgrade_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A proxy that upgrades its clients, in front of a backend that speaks plaintext and
// greets each of them afresh. Join has the client, which is past its greeting, and the
// backend agree on where they are.
func ExampleJoin() {
	raw, rawClient := net.Pipe()
	near, backend := net.Pipe()
	go func() { // the proxy
		client, err := upgrade.Join(context.Background(), raw, upgrade.POP3, &upgrade.Config{TLS: serverTLS})
		if err == nil {
			client.Returned(copyBoth(client, near)) // a client whose backend fails is told so
		}
		_ = raw.Close()
	}()
	go func() { // the backend
		fmt.Fprint(backend, "+OK backend ready\r\n")
		command := make([]byte, 64)
		n, _ := backend.Read(command)
		fmt.Fprintf(backend, "+OK to %q\r\n", command[:n])
	}()

	client, err := upgrade.Request(context.Background(), rawClient, upgrade.POP3, &upgrade.Config{TLS: clientTLS})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(client, "NOOP\r\n")
	line, err := client.ReadLine()
	fmt.Println(line, err)
	_, _ = rawClient.Close(), backend.Close()

	// Output: +OK to "NOOP\r\n" <nil>
}

// copyBoth has both sides talk until one of them ends. A stream that is cut off is no end for
// the other side, either.
func copyBoth(client *upgrade.Joined, backend net.Conn) error {
	go func() {
		if _, err := io.Copy(backend, client); err != nil {
			abort(backend)
		}
		_ = backend.Close()
	}()
	if _, err := io.Copy(client, backend); err != nil {
		return errors.Join(err, client.Abort(err))
	}
	return client.CloseWrite()
}

func abort(conn net.Conn) {
	switch c := conn.(type) {
	case *upgrade.Conn:
		_ = c.Abort()
	case *net.TCPConn:
		_ = c.SetLinger(0)
	}
}

// The other way round: a client in plaintext, such as old software on the same host, is
// given a server that has been upgraded to, or told in its own protocol why there is none.
func ExampleServeUpgraded() {
	fmt.Print(lookThrough(startSMTP()))
	fmt.Print(lookThrough("127.0.0.1:0"))

	// Output:
	// 220 mail.example.com ESMTP
	// 250 hello, old.example
	// 421 4.3.2 mail.example.com Upstream not available
}

// lookThrough is such a client: it returns what it hears of the server at an address.
func lookThrough(addr string) string {
	down, client := net.Pipe()
	config := &upgrade.Config{TLS: clientTLS, Hostname: "proxy.example"}
	go func() {
		defer down.Close()
		up, err := upgrade.Dial(context.Background(), "tcp", addr, upgrade.SMTP, config)
		if err != nil {
			upgrade.RejectClient(down, upgrade.SMTP, config, err)
			return
		}
		_ = copyBoth(upgrade.ServeUpgraded(down, up), up)
	}()
	go func() { _, _ = io.WriteString(client, "EHLO old.example\r\n") }()
	all, _ := io.ReadAll(client)
	return strings.ReplaceAll(string(all), "\r\n", "\n")
}

// What went wrong is told by errors.Is. What the peer was told of it is none of these
// texts: that is worded by its protocol.
func ExampleConn_Err() {
	for _, first := range []string{"STARTTLS\r\nMAIL FROM:<a@example.com>\r\n", "QUIT\r\n", "GET / HTTP/1.1\r\n", "\x16\x03\x01"} {
		server, client := net.Pipe()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, client) }()
			_, _ = io.WriteString(client, first)
		}()
		conn, err := upgrade.Accept(context.Background(), server, upgrade.SMTP, &upgrade.Config{TLS: serverTLS})
		fmt.Println(kind(err), conn.Err() != nil)
		_ = conn.Close()
	}

	// Output:
	// attack true
	// left true
	// no client of ours true
	// no client of ours true
}

// kind sorts errors by what to do about them.
func kind(err error) string {
	is := func(targets ...error) bool {
		for _, target := range targets {
			if errors.Is(err, target) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return "none"
	case is(upgrade.ErrPipelined, upgrade.ErrNotTLS, upgrade.ErrTruncated):
		return "attack"
	case is(upgrade.ErrQuit, upgrade.ErrTimeout):
		return "left"
	case is(upgrade.ErrPlaintext, upgrade.ErrNoALPN, upgrade.ErrMalformed, upgrade.ErrLineTooLong, upgrade.ErrTooMany):
		return "no client of ours"
	case is(upgrade.ErrNotOffered, upgrade.ErrRefused, upgrade.ErrBackend):
		return "no server for us"
	case is(upgrade.ErrUnsupported):
		return "our own fault"
	}
	return "network"
}

// Protocols are looked up by the names that configurations use.
func ExampleLookup() {
	p, err := upgrade.Lookup("ldap")
	fmt.Println(p == upgrade.LDAP, err)
	_, err = upgrade.Lookup("smpt") // the error names the choices
	why, _, _ := strings.Cut(err.Error(), ";")
	fmt.Println(why)
	for _, p := range upgrade.Protocols() {
		if p == upgrade.POP3 || p == upgrade.LDAP {
			fmt.Printf("%s, server first: %t\n", p.Name, p.ServerFirst)
		}
	}

	// Output:
	// true <nil>
	// unknown protocol "smpt"
	// ldap, server first: false
	// pop3, server first: true
}
