package lenient

import "strings"

// ldap is a server of LDAP. It takes lengths of any form and messages of any size,
// and upgrades until the client has logged in.
type ldap struct{ session }

const (
	ldapMaxMessage     = 4 << 20
	ldapStartTLS       = "1.3.6.1.4.1.1466.20037"
	ldapPasswordModify = "1.3.6.1.4.1.4203.1.11.1"
)

// Greeting implements Backend.
func (*ldap) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *ldap) Feed(p []byte) []byte { return b.run(p, b.step) }

// An element of BER.
type element struct {
	tag           byte
	content, rest []byte
}

// elementSize reads the head of an element: its length may be in as many octets as
// an int64 has.
func elementSize(p []byte) (head, size int, ok bool) {
	switch {
	case len(p) < 2:
		return 0, 0, false
	case p[1] < 0x80:
		return 2, int(p[1]), true
	}
	octets := int(p[1] & 0x7f)
	if len(p) < 2+octets {
		return 0, 0, false
	}
	for _, c := range p[2 : 2+octets] {
		if size > ldapMaxMessage {
			break
		}
		size = size<<8 | int(c)
	}
	return 2 + octets, size, true
}

// next takes the first element out of p; one without a tag is none.
func next(p []byte) element {
	head, size, ok := elementSize(p)
	if !ok || size > len(p)-head {
		return element{}
	}
	return element{p[0], p[head : head+size], p[head+size:]}
}

func (b *ldap) step() bool {
	head, size, ok := elementSize(b.buf)
	switch {
	case len(b.buf) > 0 && b.buf[0] != 0x30, ok && size > ldapMaxMessage:
		b.closed = true
		return false
	case !ok || len(b.buf) < head+size:
		return false
	}
	message := b.buf[head : head+size]
	b.buf = b.buf[head+size:]
	id := next(message)
	op := next(id.rest)
	if id.tag != 2 || op.tag == 0 {
		b.closed = true
		return false
	}
	b.request(id.content, op)
	return true
}

// ldapResponses has the tag of the response to each request.
var ldapResponses = map[byte]byte{
	0x60: 0x61, 0x63: 0x65, 0x66: 0x67, 0x68: 0x69, 0x4a: 0x6b, 0x6c: 0x6d, 0x6e: 0x6f, 0x77: 0x78,
}

func (b *ldap) request(id []byte, op element) {
	code := byte(0)
	switch op.tag {
	case 0x42: // unbind
		b.closed = true
	case 0x60:
		code = b.bind(op.content)
	case 0x6e:
		b.compare(op.content)
	case 0x77:
		code = b.extended(op.content)
	}
	if response, ok := ldapResponses[op.tag]; ok && len(id) <= 8 {
		result := []byte{0x0a, 1, code, 4, 0, 4, 0}
		answer := append([]byte{2, byte(len(id))}, id...)
		answer = append(append(answer, response, byte(len(result))), result...)
		b.out = append(append(b.out, 0x30, byte(len(answer))), answer...)
	}
}

// bind logs in, but for an anonymous bind.
func (b *ldap) bind(content []byte) (code byte) {
	name := next(next(content).rest)
	credentials := next(name.rest)
	simple := credentials.tag == 0x80
	switch {
	case simple && len(credentials.content) == 0:
		return 0
	case credentials.tag != 0x80 && credentials.tag != 0xa3:
		return 2
	}
	b.forbidPassword("bind", content)
	if b.has(RefuseLogin) {
		return 49
	}
	b.loggedIn = true
	return 0
}

// compare carries a password if it is about one.
func (b *ldap) compare(content []byte) {
	assertion := next(next(content).rest)
	attribute, _, _ := strings.Cut(upper(string(next(assertion.content).content)), ";")
	if attribute == "USERPASSWORD" || attribute == "2.5.4.35" {
		b.forbidPassword("compare", content)
	}
}

func (b *ldap) extended(content []byte) (code byte) {
	switch name := next(content); {
	case name.tag != 0x80:
		return 2
	case string(name.content) == ldapStartTLS && !b.loggedIn:
		b.forbid("StartTLS", content)
	case string(name.content) == ldapPasswordModify:
		b.forbidPassword("Password Modify", content)
	}
	return 0
}
