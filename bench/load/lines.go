package main

import (
	"bytes"
	"io"
	"net"
)

// A lines reads lines, and messages that end with a dot. One that waits has little room.
type lines struct {
	conn net.Conn
	buf  []byte // read, not consumed
	room [1024]byte
}

func (l *lines) next() (string, error) {
	for {
		if end := bytes.IndexByte(l.buf, '\n'); end >= 0 {
			line := string(l.buf[:end])
			l.buf = l.buf[end+1:]
			if line == "" || line == "\r" {
				line = "-"
			}
			return line, nil
		}
		n := copy(l.room[:], l.buf)
		if n == len(l.room) {
			return "", io.ErrShortBuffer
		}
		k, err := l.conn.Read(l.room[n:])
		l.buf = l.room[:n+k]
		if k == 0 {
			return "", err
		}
	}
}

// skip consumes so many octets.
func (l *lines) skip(n int) error {
	k := min(n, len(l.buf))
	l.buf = l.buf[k:]
	return sink(l.conn, n-k)
}

// message consumes a message up to its end. Nothing comes behind that unasked.
func (l *lines) message() error {
	room := make([]byte, roomOf)
	n := copy(room, l.buf)
	l.buf = nil
	for !bytes.HasSuffix(room[:n], []byte("\r\n.\r\n")) {
		n = copy(room, room[max(0, n-5):n])
		k, err := l.conn.Read(room[n:])
		n += k
		if k == 0 {
			return err
		}
	}
	return nil
}

// sink reads so many octets.
func sink(from io.Reader, n int) error {
	room := make([]byte, roomOf)
	for n > 0 {
		k, err := from.Read(room[:min(n, len(room))])
		n -= k
		if k == 0 {
			return err
		}
	}
	return nil
}

// noise is what is sent, and mail, which is lines of 76 octets with their ends.
var (
	noise = makeNoise(1 << 20)
	mail  = bytes.Repeat([]byte("VGhlIHF1aWNrIGJyb3duIGZveCBqdW1wcyBvdmVyIHRoZSBsYXp5IGRvZy4gVGhlIHF1aWNrIGJy\r\n"), 400)
)

// makeNoise is the same each time.
func makeNoise(n int) []byte {
	p, x := make([]byte, n), uint32(1)
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}

func pour(to io.Writer, n int) error {
	for n > 0 {
		k, err := to.Write(noise[:min(n, len(noise))])
		n -= k
		if err != nil {
			return err
		}
	}
	return nil
}
