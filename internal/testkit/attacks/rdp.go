package attacks

import (
	"fmt"
	"strings"
)

// rdpPDU is a TPKT header, an X.224 TPDU of that code, and what is behind its head.
func rdpPDU(code byte, variable string) string {
	return rdpSized(code, 11+len(variable), 6+len(variable), variable)
}

// rdpSized is rdpPDU with lengths of one's own.
func rdpSized(code byte, tpkt, indicator int, variable string) string {
	return string([]byte{3, 0, byte(tpkt >> 8), byte(tpkt), byte(indicator), code, 0, 0, 0, 0, 0}) + variable
}

// rdpInitial is an MCS Connect-Initial with something in it.
func rdpInitial(data string) string {
	size := 9 + len(data)
	return string([]byte{3, 0, byte(size >> 8), byte(size), 2, 0xf0, 0x80, 0x7f, 0x65}) + data
}

func rdpRows() []Row {
	const request, data = 0xe0, 0xf0
	var rows []Row
	add := adder(&rows)
	for _, protocols := range []byte{1, 3, 0x0b, 0x1f, 0xff} {
		for _, flags := range []byte{0, 1, 2, 8, 0xff} {
			negotiation := string([]byte{1, flags, 8, 0, protocols, 0, 0, 0})
			name := fmt.Sprintf("%#x %#x ", protocols, flags)
			correlation := "\x06\x00\x24\x00" + strings.Repeat("x", 32)
			for _, cookie := range []string{"", "Cookie: mstshash=a\r\n", "Cookie: msts=1.2.3\r\n", "tsv://x\r\n", "\r\n", "\r", "\n", "a\n", "C:\r\n\r\n"} {
				at := fmt.Sprintf("%s %q", name, cookie)
				add("negotiation", at, 0, rdpPDU(request, cookie+negotiation), rdpInitial("x"))
				add("correlation info", at, 0, rdpPDU(request, cookie+negotiation+correlation), rdpInitial("x"))
				add("in a cookie", at, 0, rdpPDU(request, "C"+negotiation+cookie+"\r\n"), rdpInitial("x"))
				add("twice", at, 0, rdpPDU(request, cookie+negotiation+negotiation))
				add("other lengths", at, 0, rdpSized(request, 11+len(cookie)+8, 6, cookie+negotiation))
				add("other lengths", "long "+at, 0, rdpSized(request, 300, 254, cookie+negotiation+strings.Repeat("x", 281-len(cookie))))
				add("behind data", at, 0, rdpPDU(data, "x")+rdpPDU(request, cookie+negotiation))
			}
			for _, code := range []byte{0xe1, 0xef} {
				add("another code", fmt.Sprintf("%#x %s", code, name), 0, rdpPDU(code, negotiation))
			}
		}
	}
	return rows
}

// rdpSession asks for nothing but a backend, and goes on with what looks like a negotiation.
func rdpSession() []string {
	return []string{rdpPDU(0xe0, "Cookie: mstshash=a\r\n"), rdpInitial("\x01\x00\x08\x00\x01\x00\x00\x00"), rdpInitial(strings.Repeat("x", 30000))}
}
