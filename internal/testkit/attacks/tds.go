package attacks

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// tdsPacket is one of the given type and status.
func tdsPacket(kind, status byte, data string) string {
	return string(binary.BigEndian.AppendUint16([]byte{kind, status}, uint16(8+len(data)))) + "\x00\x00\x01\x00" + data
}

// tdsOption is the head of an option.
func tdsOption(token byte, from, size int) string {
	p := binary.BigEndian.AppendUint16([]byte{token}, uint16(from))
	return string(binary.BigEndian.AppendUint16(p, uint16(size)))
}

const (
	tdsVersion = "\x10\x00\x03\xe8\x00\x00"
	tdsHello   = "\x16" // of TLS, and all of it
)

// tdsAsks is a PRELOGIN that says this of TLS.
func tdsAsks(encryption byte) string {
	return tdsPacket(0x12, 1, tdsOption(0, 11, 6)+tdsOption(1, 17, 1)+"\xff"+tdsVersion+string([]byte{encryption}))
}

func tdsRows() []Row {
	var rows []Row
	add := adder(&rows)
	login := tdsPacket(0x10, 1, "user and password")
	for encryption := range 6 {
		ask, name := tdsAsks(byte(encryption)), fmt.Sprint(encryption)
		for again := range 4 {
			more, name := tdsAsks(byte(again)), fmt.Sprintf("%s %d", name, again)
			add("PRELOGIN twice", name, 0, ask, more, login)
			add("PRELOGIN twice", name+" inside TLS", 0, ask, tdsHello+more, login)
			add("PRELOGIN twice", name+" at once", 0, ask+more+login)
			add("PRELOGIN twice", name+" at once inside TLS", 0, ask, tdsHello+more+login)
			both := tdsOption(0, 16, 6) + tdsOption(1, 22, 1) + tdsOption(1, 23, 1) + "\xff" + tdsVersion + string([]byte{byte(encryption), byte(again)})
			add("ENCRYPTION twice", name, 0, tdsPacket(0x12, 1, both), tdsHello, login)
		}
		for status := range 4 {
			add("status", fmt.Sprintf("%s %d", name, status), 0, tdsPacket(0x12, byte(status), ask[8:]), tdsHello, login)
		}
		for from := range 20 {
			data := tdsOption(0, 11, 6) + tdsOption(1, from, 1) + "\xff" + tdsVersion + string([]byte{byte(encryption)})
			add("ENCRYPTION elsewhere", fmt.Sprintf("%s %d", name, from), 0, tdsPacket(0x12, 1, data), tdsHello, login)
			swapped := tdsOption(1, from, 1) + tdsOption(0, 11, 6) + "\xff" + tdsVersion + string([]byte{byte(encryption)})
			add("ENCRYPTION first", fmt.Sprintf("%s %d", name, from), 0, tdsPacket(0x12, 1, swapped), tdsHello, login)
		}
		for cut := 9; cut < len(ask); cut++ {
			add("cut", fmt.Sprintf("%s %d", name, cut), 0, tdsPacket(0x12, 1, ask[8:cut]), ask, login)
		}
		add("login in plaintext", name, 0, ask, login)
		add("login in plaintext", name+" at once", 0, ask+login)
		add("handshake by the backend", name, 0, ask+tdsPacket(0x12, 1, "\x16\x03\x01\x00\x00"))
		add("handshake by the backend", name+" later", 0, ask, tdsPacket(0x12, 1, "\x16\x03\x01\x00\x00"), login)
	}
	add("login in plaintext", "alone", 0, login)
	add("login in plaintext", "of before", 0, tdsPacket(0x02, 1, "user and password"))
	return rows
}

// tdsSessions are of clients without TLS, or inside it from the beginning.
func tdsSessions() []Row {
	login := tdsPacket(0x10, 1, "user and password")
	query := tdsPacket(0x01, 1, strings.Repeat("S\x00", 2000))
	return honest(lenient.Bare,
		[]string{tdsAsks(2), login, query, query + query},
		[]string{tdsAsks(2), login + query, strings.Repeat(tdsAsks(1), 100)})
}
