package attacks

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// ber makes an element with a length in so many octets; 0 is the short form, if the
// length has room in it.
func ber(tag byte, octets int, content string) string {
	n := len(content)
	if octets == 0 && n < 0x80 {
		return string([]byte{tag, byte(n)}) + content
	}
	octets = max(octets, 4)
	length := binary.BigEndian.AppendUint64(nil, uint64(n))
	return string([]byte{tag, 0x80 | byte(octets)}) + string(length[8-min(octets, 8):]) + content
}

func ldapMessage(octets int, id, rest string) string {
	return ber(0x30, octets, ber(2, octets, id)+rest)
}

// ldapOperations are those that must not reach a backend: the second half only in
// plaintext.
func ldapOperations(octets int) map[string]string {
	name := func(s string) string { return ber(4, octets, s) }
	bind := func(dn, credentials string) string {
		return ber(0x60, octets, ber(2, octets, "\x03")+name(dn)+credentials)
	}
	return map[string]string{
		"StartTLS":              ber(0x77, octets, ber(0x80, octets, "1.3.6.1.4.1.1466.20037")),
		"StartTLS with a value": ber(0x77, octets, ber(0x80, octets, "1.3.6.1.4.1.1466.20037")+ber(0x81, octets, "")),
		"bind":                  bind("cn=a", ber(0x80, octets, "secret")),
		"bind without a name":   bind("", ber(0x80, octets, "secret")),
		"bind with a long name": bind("cn="+strings.Repeat("x", 17000), ber(0x80, octets, "secret")),
		"SASL bind":             bind("", ber(0xa3, octets, name("PLAIN")+name("\x00a\x00b"))),
		"Password Modify":       ber(0x77, octets, ber(0x80, octets, "1.3.6.1.4.1.4203.1.11.1")+ber(0x81, octets, ber(0x30, octets, ber(0x80, octets, "a")))),
		"Compare":               ber(0x6e, octets, name("cn=a")+ber(0x30, octets, name("userPassword")+name("secret"))),
		"Compare by OID":        ber(0x6e, octets, name("cn=a")+ber(0x30, octets, name("2.5.4.35")+name("secret"))),
	}
}

func ldapRows() []Row {
	var rows []Row
	add := adder(&rows)
	id := "\x07"
	search := ldapMessage(0, "\x01", ber(0x63, 0, ber(4, 0, "")+"\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00"+ber(0x87, 0, "objectClass")+"\x30\x00"))
	control := func(critical, padding string) string {
		return ber(0xa0, 0, ber(0x30, 0, ber(4, 0, "1.2.3")+critical+ber(4, 0, padding)))
	}
	for octets := range 9 {
		for name, operation := range ldapOperations(octets) {
			add("length in octets", fmt.Sprintf("%s %d", name, octets), 0, ldapMessage(octets, id, operation))
		}
	}
	for name, operation := range ldapOperations(0) {
		for form, odd := range map[string]string{"0": "\x00", "two octets": "\x00\x07", "negative": "\xff", "none": "", "five octets": "\x00\x00\x00\x00\x07", "four": "\x7f\xff\xff\xff"} {
			add("messageID", name+" "+form, 0, ldapMessage(0, odd, operation))
		}
		add("behind another message", name, 0, search, ldapMessage(0, id, operation))
		add("behind Abandon", name, 0, ldapMessage(0, id, ber(0x50, 0, "\x01")), ldapMessage(0, id, operation))
		add("with a control", name, 0, ldapMessage(0, id, operation+control("", "")))
		add("with a critical control", name, 0, ldapMessage(0, id, operation+control("\x01\x01\xff", "")))
		add("more behind it", name, 0, ldapMessage(0, id, operation+"\x00\x01\x02"))
		for _, n := range paddings {
			add("long message", fmt.Sprintf("%s %d", name, n), 0, ldapMessage(0, id, operation+control("", strings.Repeat("x", n))))
			add("long message", fmt.Sprintf("%s %d less", name, n), 0, ldapMessage(0, id, operation+control("", strings.Repeat("x", n-100))))
			add("behind a long message", fmt.Sprintf("%s %d", name, n), 0, ldapMessage(0, "\x01", ber(0x66, 0, strings.Repeat("x", n))), ldapMessage(0, id, operation))
		}
	}
	startTLS := ldapMessage(0, id, ldapOperations(0)["StartTLS"])
	bind := func(credentials string) string {
		return ldapMessage(0, "\x02", ber(0x60, 0, "\x02\x01\x03"+ber(4, 0, "cn=a")+credentials))
	}
	add("anonymous bind", "no password", 0, bind("\x80\x00"), startTLS)
	add("login refused", "simple", lenient.RefuseLogin, bind(ber(0x80, 0, "secret")), startTLS)
	add("login refused", "SASL", lenient.RefuseLogin, bind(ber(0xa3, 0, ber(4, 0, "PLAIN"))), startTLS)
	add("login refused", "no kind", 0, bind(ber(0x81, 0, "x")), startTLS)
	add("login refused", "SASL, long", lenient.RefuseLogin, bind(ber(0xa3, 0, ber(4, 0, "PLAIN")+ber(4, 0, strings.Repeat("x", 17000)))), startTLS)
	return rows
}

func postgresRows() []Row {
	var rows []Row
	add := adder(&rows)
	first := func(code uint32, more string) string {
		p := binary.BigEndian.AppendUint32(nil, uint32(8+len(more)))
		return string(binary.BigEndian.AppendUint32(p, code)) + more
	}
	startup := first(3<<16, "user\x00a\x00\x00")
	ssl, gss := uint32(1234<<16|5679), uint32(1234<<16|5680)
	for name, code := range map[string]uint32{"SSLRequest": ssl, "GSSENCRequest": gss} {
		add("as it is", name, 0, first(code, ""))
		add("as it is", name+" and startup", 0, first(code, ""), startup)
		add("again", name, 0, first(code, ""), first(code, ""), first(code, ""), startup)
		add("again", "the other, "+name, 0, first(ssl^gss^code, ""), first(code, ""), first(ssl^gss^code, ""), first(code, ""))
		for _, n := range []int{1, 4, 8, 100, 9990, 17000, 70000} {
			add("longer than it is", fmt.Sprintf("%s %d", name, n), 0, first(code, strings.Repeat("\x00", n)), startup)
		}
	}
	password := "p\x00\x00\x00\x0bsecret\x00"
	for name, said := range map[string]string{
		"as it is":          startup,
		"another version":   first(3<<16|2, "user\x00a\x00\x00"),
		"behind a long one": first(3<<16, "user\x00a\x00b\x00"+strings.Repeat("x", 9000)+"\x00\x00"),
	} {
		rows = append(rows,
			Row{"password", name, []string{said, password}, 0},
			Row{"password before it is asked for", name, []string{said + password}, 0})
	}
	return rows
}
