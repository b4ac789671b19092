package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"unicode/utf16"
)

// serve serves whoever connects.
func serve(address, certificate, key string) error {
	var config *tls.Config
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return err
		}
		config = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := (&session{conn: conn}).serve(config); err != nil && !errors.Is(err, io.EOF) {
				fmt.Println("session:", err)
			}
		}()
	}
}

// Types of packets.
const (
	typeBatch    = 0x01
	typeReply    = 0x04
	typeLogin7   = 0x10
	typePrelogin = 0x12
)

// maxData is what a packet has at the most behind its head.
const maxData = 4096 - 8

type session struct {
	conn io.ReadWriter // TLS, once there is any
	raw  net.Conn
}

// read reads a message, of which the packets are put together.
func (s *session) read() (kind byte, data []byte, err error) {
	for {
		head := make([]byte, 8)
		if _, err := io.ReadFull(s.conn, head); err != nil {
			return 0, nil, err
		}
		size := int(binary.BigEndian.Uint16(head[2:]))
		if size < 8 {
			return 0, nil, errors.New("a packet without a head")
		}
		part := make([]byte, size-8)
		if _, err := io.ReadFull(s.conn, part); err != nil {
			return 0, nil, err
		}
		data = append(data, part...)
		if head[1]&1 != 0 || len(data) > 1<<20 {
			return head[0], data, nil
		}
	}
}

// write writes a message.
func (s *session) write(kind byte, data []byte) error {
	var all []byte
	for number := byte(1); ; number++ {
		n := min(len(data), maxData)
		last := byte(0)
		if n == len(data) {
			last = 1
		}
		all = append(all, kind, last)
		all = binary.BigEndian.AppendUint16(all, uint16(8+n))
		all = append(append(all, 0, 0, number, 0), data[:n]...)
		if data = data[n:]; last == 1 {
			_, err := s.conn.Write(all)
			return err
		}
	}
}

func (s *session) serve(config *tls.Config) error {
	s.raw, _ = s.conn.(net.Conn)
	kind, data, err := s.read()
	switch {
	case err != nil:
		return err
	case kind != typePrelogin:
		return fmt.Errorf("packet %#x in place of PRELOGIN", kind)
	}
	wish, ok := encryption(data)
	fmt.Printf("ENCRYPTION %#x %t\n", wish, ok)
	says := byte(2)
	if config != nil {
		says = 3
		if wish == 1 {
			says = 1
		}
	}
	answer := []byte("\x00\x00\x15\x00\x06\x01\x00\x1b\x00\x01\x02\x00\x1c\x00\x01\x04\x00\x1d\x00\x01\xff" + "\x0f\x00\x10\x7d\x00\x00")
	if err := s.write(typeReply, append(answer, says, 0, 0)); err != nil {
		return err
	}
	if config != nil {
		handshake := &inPackets{session: session{conn: s.raw}, Conn: s.raw}
		secure := tls.Server(handshake, config)
		if err := secure.Handshake(); err != nil {
			return fmt.Errorf("handshake: %w", err)
		}
		handshake.over = true
		s.conn = secure
	}
	return s.login()
}

// encryption is what a PRELOGIN says of TLS.
func encryption(data []byte) (byte, bool) {
	for at := 0; at+5 <= len(data) && data[at] != 0xff; at += 5 {
		from := int(binary.BigEndian.Uint16(data[at+1:]))
		if data[at] == 1 && from < len(data) {
			return data[from], true
		}
	}
	return 0, false
}

// inPackets carries a handshake.
type inPackets struct {
	net.Conn
	session session
	rest    []byte
	over    bool
}

func (c *inPackets) Read(p []byte) (int, error) {
	if c.over {
		return c.Conn.Read(p)
	}
	for len(c.rest) == 0 {
		kind, data, err := c.session.read()
		if err != nil {
			return 0, err
		}
		if kind != typePrelogin {
			return 0, fmt.Errorf("packet %#x in the handshake", kind)
		}
		c.rest = data
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *inPackets) Write(p []byte) (int, error) {
	if c.over {
		return c.Conn.Write(p)
	}
	return len(p), c.session.write(typePrelogin, p)
}

// login takes LOGIN7.
func (s *session) login() error {
	kind, data, err := s.read()
	switch {
	case err != nil:
		return err
	case kind != typeLogin7 || len(data) < 94:
		return fmt.Errorf("packet %#x of %d octets in place of LOGIN7", kind, len(data))
	}
	user := wide(field(data, 40))
	hidden := bytes.Clone(field(data, 44))
	for i, c := range hidden {
		c ^= 0xa5
		hidden[i] = c>>4 | c<<4
	}
	if user != "alice" || wide(hidden) != "open sesame" {
		return s.write(typeReply, append(failure(18456, 14, "Login failed for user '"+user+"'."), done(2, 0)...))
	}
	ack := []byte{1, data[7], data[6], data[5], data[4]}
	ack = append(append(ack, 4), narrow("test")...)
	ack = append(ack, 15, 0, 0x10, 0x7d)
	answer := append(binary.LittleEndian.AppendUint16([]byte{0xad}, uint16(len(ack))), ack...)
	if err := s.write(typeReply, append(answer, done(0, 0)...)); err != nil {
		return err
	}
	for {
		kind, data, err := s.read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case kind != typeBatch:
			return fmt.Errorf("packet %#x in place of a batch", kind)
		}
		if err := s.write(typeReply, batch(data)); err != nil {
			return err
		}
	}
}

// field is one of LOGIN7's, at whose offset and length are there.
func field(data []byte, at int) []byte {
	from := int(binary.LittleEndian.Uint16(data[at:]))
	to := from + 2*int(binary.LittleEndian.Uint16(data[at+2:]))
	if to > len(data) {
		return nil
	}
	return data[from:to]
}

var selects = regexp.MustCompile(`(?i)^\s*select\s+(?:top\s+([0-9]{1,6})\s+)?'([^']*)'\s*;?\s*$`)

// batch answers a batch: a select of a constant with so many rows, anything else with none.
func batch(data []byte) []byte {
	if len(data) >= 4 {
		data = data[min(len(data), int(binary.LittleEndian.Uint32(data))):] // behind the headers
	}
	found := selects.FindStringSubmatch(wide(data))
	if found == nil {
		return done(0, 0)
	}
	rows := 1
	if found[1] != "" {
		rows, _ = strconv.Atoi(found[1])
	}
	// One column, of type NVARCHAR(4000).
	answer := []byte{0x81, 1, 0, 0, 0, 0, 0, 9, 0, 0xe7, 0x40, 0x1f, 9, 4, 0xd0, 0, 0x34, 1}
	answer = append(answer, narrow("x")...)
	value := narrow(found[2])
	for range rows {
		answer = append(answer, 0xd1)
		answer = binary.LittleEndian.AppendUint16(answer, uint16(len(value)))
		answer = append(answer, value...)
	}
	return append(answer, done(0x10, rows)...)
}

func done(status uint16, rows int) []byte {
	p := binary.LittleEndian.AppendUint16([]byte{0xfd}, status)
	return binary.LittleEndian.AppendUint64(append(p, 0xc1, 0), uint64(rows))
}

// failure is an ERROR token.
func failure(number uint32, class byte, text string) []byte {
	info := append(binary.LittleEndian.AppendUint32(nil, number), 1, class)
	info = binary.LittleEndian.AppendUint16(info, uint16(len(text)))
	info = append(append(info, narrow(text)...), 0, 0, 1, 0, 0, 0)
	return append(binary.LittleEndian.AppendUint16([]byte{0xaa}, uint16(len(info))), info...)
}

// wide decodes UTF-16, and narrow encodes it.
func wide(p []byte) string {
	units := make([]uint16, len(p)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(p[2*i:])
	}
	return string(utf16.Decode(units))
}

func narrow(text string) (p []byte) {
	for _, unit := range utf16.Encode([]rune(text)) {
		p = binary.LittleEndian.AppendUint16(p, unit)
	}
	return p
}
