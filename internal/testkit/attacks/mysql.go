package attacks

import (
	"encoding/binary"
	"fmt"
)

// The flags of a client of MySQL: without TLS, and with it.
const (
	mysqlFlags    = 0x0008a201
	mysqlTLSFlags = mysqlFlags | 0x800
)

func mysqlPacket(number byte, payload string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))|uint32(number)<<24)) + payload
}

// mysqlBegins is what a login begins with, and all of an SSLRequest.
func mysqlBegins(flags uint32) string {
	p := binary.LittleEndian.AppendUint32(nil, flags)
	p = append(p, 0, 0, 0, 1, 0x2d)
	return string(append(p, make([]byte, 23)...))
}

func mysqlLogin(flags uint32, plugin, answer string) string {
	return mysqlBegins(flags) + "alice\x00" + string([]byte{byte(len(answer))}) + answer + plugin + "\x00"
}

const (
	mysqlNative = "mysql_native_password"
	mysqlClear  = "mysql_clear_password"
	mysqlHello  = "\x16" // of TLS, and all of it
	mysqlQuery  = "\x03SELECT 1"
)

func mysqlRows() []Row {
	var rows []Row
	add := adder(&rows)
	ask := mysqlPacket(1, mysqlBegins(mysqlTLSFlags))
	for number := range byte(4) {
		again := mysqlPacket(number, mysqlBegins(mysqlTLSFlags))
		flagged := mysqlPacket(number, mysqlLogin(mysqlTLSFlags, mysqlNative, ""))
		name := fmt.Sprint("number ", number)
		add("SSLRequest twice", name, 0, ask, mysqlHello, again, mysqlHello)
		add("SSLRequest twice", name+" at once", 0, ask+mysqlHello+again)
		add("SSLRequest behind a login", name, 0, ask, mysqlHello+mysqlPacket(2, mysqlLogin(mysqlTLSFlags, mysqlNative, ""))+again)
		add("flag in a login", name, 0, flagged)
		add("flag in a login", name+" behind another", 0, mysqlPacket(1, mysqlLogin(mysqlFlags, mysqlNative, ""))+flagged)
		add("flag in a short packet", name, 0, mysqlPacket(number, mysqlBegins(mysqlTLSFlags)[:4]))
		add("flag in a short packet", name+" inside TLS", 0, ask, mysqlHello, mysqlPacket(number, mysqlBegins(mysqlTLSFlags)[:31]))
		add("password unasked", name, 0, mysqlPacket(1, mysqlLogin(mysqlFlags, mysqlNative, ""))+mysqlPacket(number, "secret\x00"))
		add("password in plaintext", name, 0, mysqlPacket(1, mysqlLogin(mysqlFlags, mysqlNative, "")), mysqlPacket(number, "secret\x00"))
	}
	for name, flags := range map[string]uint32{"as it is": mysqlFlags, "all but TLS": 0xffffffff &^ 0x20080c, "length-encoded": mysqlFlags | 0x200000} {
		add("password in a login", name, 0, mysqlPacket(1, mysqlLogin(flags&^0x800, mysqlClear, "secret\x00")))
	}
	return rows
}

// mysqlHonest are sessions as with a server that has TLS.
func mysqlHonest() [][]string {
	ask := mysqlPacket(1, mysqlBegins(mysqlTLSFlags))
	login := mysqlHello + mysqlPacket(2, mysqlLogin(mysqlTLSFlags, mysqlNative, "12345678901234567890"))
	return [][]string{
		{ask, login, mysqlPacket(4, "secret\x00"), mysqlPacket(0, mysqlQuery), mysqlPacket(0, "\x01")},
		{ask, login, mysqlPacket(4, ""), mysqlPacket(0, mysqlQuery) + mysqlPacket(0, mysqlQuery)},
	}
}
