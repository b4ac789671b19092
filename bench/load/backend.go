package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// A backend is all servers that the proxies are in front of. It is a part of this process.
type backend struct {
	secrets *secrets

	smtp     string // without a STARTTLS of its own
	starting string // smtp that offers STARTTLS, as Debian's Postfix does
	implicit string // smtp over TLS
	upgraded string // smtp that does STARTTLS
	imap     string
	pop3     string
	postgres string
	ldap     string
	auth     string // the service that nginx asks where a client is to go, by HTTP
}

func startBackend() (*backend, error) {
	secrets, err := newSecrets()
	if err != nil {
		return nil, err
	}
	b := &backend{secrets: secrets}
	const offers = "250-hello\r\n250-CHUNKING\r\n250 PIPELINING\r\n"
	const starts = "250-hello\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 PIPELINING\r\n"
	for _, s := range []struct {
		address *string
		serve   func(net.Conn) error
	}{
		{&b.smtp, func(c net.Conn) error { return serveSMTP(c, smtpGreeting, offers) }},
		{&b.starting, func(c net.Conn) error { return serveSMTP(c, smtpGreeting, starts) }},
		{&b.implicit, func(c net.Conn) error { return serveSMTP(tls.Server(c, secrets.server), smtpGreeting, offers) }},
		{&b.upgraded, func(c net.Conn) error { return serveUpgraded(c, secrets.server, offers) }},
		{&b.imap, serveIMAP},
		{&b.pop3, servePOP3},
		{&b.postgres, servePostgres},
		{&b.ldap, serveLDAP},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		*s.address = ln.Addr().String()
		go serveAll(ln, s.serve)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.auth = ln.Addr().String()
	go func() { _ = http.Serve(ln, b) }() //nolint:gosec // for nginx on this machine alone
	return b, nil
}

// ServeHTTP tells nginx where a client is to go.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	address := map[string]string{"smtp": b.smtp, "imap": b.imap, "pop3": b.pop3}[r.Header.Get("Auth-Protocol")]
	host, port, _ := net.SplitHostPort(address)
	for name, value := range map[string]string{"Auth-Status": "OK", "Auth-Server": host, "Auth-Port": port} {
		w.Header().Set(name, value)
	}
}

func serveAll(ln net.Listener, serve func(net.Conn) error) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_ = serve(conn)
		}()
	}
}

// helpLines are how many there are in a reply to HELP.
const helpLines = 100

var help = strings.Repeat("214-"+strings.Repeat("help", 18)+"\r\n", helpLines) + "214 that is all\r\n"

// roomOf is how much a backend reads at a time, if there is much.
const roomOf = 64 << 10

const smtpGreeting = "220 hello\r\n"

// serveSMTP is a server of SMTP, with XUP and XDOWN for transfers of any octets.
func serveSMTP(conn net.Conn, greeting, offers string) error {
	if _, err := io.WriteString(conn, greeting); err != nil {
		return err
	}
	in := &lines{conn: conn}
	for {
		line, err := in.next()
		if err != nil {
			return err
		}
		words := strings.Fields(line)
		reply := "250 ok\r\n"
		switch words[0] {
		case "EHLO":
			reply = offers
		case "HELP":
			reply = help
		case "DATA":
			if _, err = io.WriteString(conn, "354 go on\r\n"); err == nil {
				err = in.message()
			}
		case "BDAT", "XUP":
			err = in.skip(number(words[1]))
		case "XDOWN":
			reply, err = "", pour(conn, number(words[1]))
		}
		if err == nil && reply != "" {
			_, err = io.WriteString(conn, reply)
		}
		if err != nil {
			return err
		}
	}
}

func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func serveUpgraded(conn net.Conn, config *tls.Config, offers string) error {
	if _, err := io.WriteString(conn, smtpGreeting); err != nil {
		return err
	}
	in := &lines{conn: conn}
	for _, reply := range []string{"250-hello\r\n250 STARTTLS\r\n", "220 go on\r\n"} {
		if _, err := in.next(); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return err
		}
	}
	return serveSMTP(tls.Server(conn, config), "", offers)
}

// serveLines answers each line.
func serveLines(conn net.Conn, greeting string, answer func(line string) string) error {
	if _, err := io.WriteString(conn, greeting); err != nil {
		return err
	}
	in := &lines{conn: conn}
	for {
		line, err := in.next()
		if err == nil {
			_, err = io.WriteString(conn, answer(line))
		}
		if err != nil {
			return err
		}
	}
}

// serveIMAP takes every login, also one by literals, as nginx has it.
func serveIMAP(conn net.Conn) error {
	tag, literal := "", false
	return serveLines(conn, "* OK hello\r\n", func(line string) string {
		if !literal {
			tag, _, _ = strings.Cut(line, " ")
		}
		if literal = strings.HasSuffix(line, "}\r"); literal {
			return "+ go on\r\n"
		}
		if strings.HasPrefix(line, tag+" CAPABILITY") {
			return "* CAPABILITY IMAP4rev1\r\n" + tag + " OK done\r\n"
		}
		return tag + " OK done\r\n"
	})
}

func servePOP3(conn net.Conn) error {
	return serveLines(conn, "+OK hello\r\n", func(string) string { return "+OK done\r\n" })
}

// serveLDAP has the same answer for all.
func serveLDAP(conn net.Conn) error {
	room := make([]byte, 512)
	for {
		if _, err := conn.Read(room); err != nil {
			return err
		}
		if _, err := io.WriteString(conn, ldapBound); err != nil {
			return err
		}
	}
}

// servePostgres takes everybody, and answers queries without a row. U and D are transfers of
// any octets.
func servePostgres(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 4096)
	for {
		startup, err := pgMessage(in)
		if err != nil {
			return err
		}
		if !bytes.Equal(startup, []byte("\x04\xd2\x16\x2f")) { // SSLRequest
			break
		}
		if _, err := io.WriteString(conn, "N"); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(conn, pgWelcome); err != nil {
		return err
	}
	for {
		kind, err := in.ReadByte()
		if err != nil {
			return err
		}
		switch kind {
		case 'U', 'D':
			err = pgTransfer(conn, in, kind == 'U')
		default:
			if _, err = pgMessage(in); err == nil {
				_, err = io.WriteString(conn, "C\x00\x00\x00\x0dSELECT 0\x00"+pgReady)
			}
		}
		if err != nil {
			return err
		}
	}
}

// pgMessage reads a message behind its type, if it has one.
func pgMessage(in *bufio.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > 4096 {
		return nil, fmt.Errorf("message of %d octets", n)
	}
	body := make([]byte, n-4)
	_, err := io.ReadFull(in, body)
	return body, err
}

func pgTransfer(conn net.Conn, in *bufio.Reader, up bool) error {
	var size [8]byte
	if _, err := io.ReadFull(in, size[:]); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint64(size[:])) //nolint:gosec // of our own client
	if !up {
		return pour(conn, n)
	}
	if err := sink(in, n); err != nil {
		return err
	}
	_, err := io.WriteString(conn, pgReady)
	return err
}

var pgWelcome = "R\x00\x00\x00\x08\x00\x00\x00\x00" + pgParameter("server_version", "15.0") +
	pgParameter("client_encoding", "UTF8") + pgParameter("DateStyle", "ISO, MDY") + pgParameter("TimeZone", "UTC") +
	pgParameter("standard_conforming_strings", "on") + pgParameter("integer_datetimes", "on") +
	"K\x00\x00\x00\x0c\x00\x00\x00\x01\x00\x00\x00\x02" + pgReady

func pgParameter(name, value string) string {
	body := name + "\x00" + value + "\x00"
	return "S" + string(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))) + body //nolint:gosec // of a constant
}
