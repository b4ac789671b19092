package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
)

// asRelay is set in the environment of this program where it is the bare relay: an address of
// its own to listen on and the backend's, of each protocol, and where to ask for its memory.
const asRelay = "LOAD_RELAY"

type relayConfig struct {
	SMTP, SMTPBackend         string
	Postgres, PostgresBackend string
	Live                      string
	Cert, Key                 string
}

// runRelay does TLS and nothing else: no limits, no deadlines, no logs, and of a protocol what
// it takes to get to TLS.
func runRelay(text string) error {
	var c relayConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return err
	}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	for _, r := range []relay{{c.SMTP, c.SMTPBackend, relaySMTP, true}, {c.Postgres, c.PostgresBackend, relayPostgres, false}} {
		ln, err := net.Listen("tcp", r.address)
		if err != nil {
			return err
		}
		go serveAll(ln, func(conn net.Conn) error { return r.serve(conn, config) })
	}
	http.HandleFunc("/live", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, liveHere()) })
	return http.ListenAndServe(c.Live, nil) //nolint:gosec // for this machine alone
}

// liveHere is the memory of this process that is in use, for data and for stacks.
func liveHere() uint64 {
	runtime.GC()
	runtime.GC() // what the first has left to pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

type relay struct {
	address, backend string
	negotiate        func(net.Conn) error
	greeted          bool // by the backend, of which the client has no need any more
}

func (r relay) serve(raw net.Conn, config *tls.Config) error {
	if err := r.negotiate(raw); err != nil {
		return err
	}
	client := tls.Server(raw, config)
	if err := client.Handshake(); err != nil {
		return err
	}
	upstream, err := net.Dial("tcp", r.backend)
	if err != nil {
		return err
	}
	defer func() { _ = upstream.Close() }()
	if r.greeted {
		var room [512]byte
		if _, err := upstream.Read(room[:]); err != nil {
			return err
		}
	}
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(upstream, client)
		_ = upstream.(*net.TCPConn).CloseWrite()
		close(over)
	}()
	_, err = io.Copy(client, upstream)
	_ = client.CloseWrite()
	<-over
	return err
}

func relaySMTP(conn net.Conn) error {
	in := bufio.NewReaderSize(conn, 512)
	for _, reply := range []string{"220 relay\r\n", "250-relay\r\n250 STARTTLS\r\n", "220 go on\r\n"} {
		if reply[:4] != "220 " || reply == "220 go on\r\n" {
			if _, err := in.ReadSlice('\n'); err != nil {
				return err
			}
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return err
		}
	}
	if in.Buffered() > 0 {
		return os.ErrInvalid
	}
	return nil
}

func relayPostgres(conn net.Conn) error {
	var request [8]byte
	if _, err := io.ReadFull(conn, request[:]); err != nil {
		return err
	}
	if !bytes.Equal(request[:], []byte(pgPlain[0].say)) {
		return os.ErrInvalid
	}
	_, err := io.WriteString(conn, "S")
	return err
}
