package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
)

// databaseRow is the one value of the one row that every query yields.
const databaseRow = "It came over TLS."

// servePostgres speaks version 3.0 of PostgreSQL's protocol with anybody.
func servePostgres(conn net.Conn) error {
	r := bufio.NewReader(conn)
	if err := skipBody(r); err != nil { // StartupMessage
		return unlessEOF(err)
	}
	ready := pgMessage('Z', "I")
	hello := pgMessage('R', "\x00\x00\x00\x00") + pgMessage('S', "server_version\x0016.0\x00") +
		pgMessage('S', "client_encoding\x00UTF8\x00") + ready
	if _, err := io.WriteString(conn, hello); err != nil {
		return err
	}
	for {
		kind, err := r.ReadByte()
		if err != nil || kind == 'X' { // Terminate
			return unlessEOF(err)
		}
		if err := skipBody(r); err != nil {
			return err
		}
		answer := pgMessage('E', "SERROR\x00VERROR\x00C0A000\x00Mnot supported\x00\x00") + ready
		if kind == 'Q' {
			answer = oneRow() + ready
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return err
		}
	}
}

// oneRow is a RowDescription of one text column, a DataRow and a CommandComplete.
func oneRow() string {
	const textColumn = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00"
	return pgMessage('T', "\x00\x01answer\x00"+textColumn) +
		pgMessage('D', "\x00\x01"+pgLength(len(databaseRow))+databaseRow) +
		pgMessage('C', "SELECT 1\x00")
}

// databaseVisit is a client's whole conversation: StartupMessage, Query, Terminate.
func databaseVisit() string {
	startup := "\x00\x03\x00\x00user\x00me\x00\x00"
	return pgLength(len(startup)+4) + startup + pgMessage('Q', "select\x00") + pgMessage('X', "")
}

func pgMessage(kind byte, body string) string {
	return string(kind) + pgLength(len(body)+4) + body
}

func pgLength(n int) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // small messages
}

// skipBody reads a length, which counts itself, and what it announces.
func skipBody(r io.Reader) error {
	var length uint32
	if err := binary.Read(r, binary.BigEndian, &length); err != nil {
		return err
	}
	if length < 4 || length > 10000 {
		return errors.New("message too long")
	}
	_, err := io.CopyN(io.Discard, r, int64(length-4))
	return err
}
