package ftp

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Verbs of what is asked of the backend: on behalf of the client, but perhaps in other words,
// and for ourselves.
const (
	askedEPSV = "EPSV"
	askedPASV = "PASV"
	ownPBSZ   = "PBSZ"
	ownPROT   = "PROT"
)

// A passive is what is known of the data connection that comes next.
type passive struct {
	verb    string // what the client has asked with
	network string // the network protocol that it wants: "1" is IPv4, "2" is IPv6; empty for any
	again   bool   // the backend has been asked in other words
	all     bool   // the client has said that it will use nothing but EPSV

	offered, used bool // the client has been told where to connect, and the backend has used it
	protected     bool // an upgraded backend has agreed to TLS
}

// ready reports whether a transfer can begin. Without a place to connect to, a backend would
// connect to us.
func (p *passive) ready() bool { return p.offered && !p.used }

func (p *passive) withdraw(x *dialogue.Exchange) {
	if p.offered && !p.used {
		x.WithdrawData()
	}
	p.offered = false
}

// passive asks the backend for a data connection, with the client's command: it may know no
// other. A client that wants a network protocol (RFC 2428 section 3) means its own
// connection, and not the backend's.
func (f *filter) passive(x *dialogue.Exchange, verb, argument string) {
	switch {
	case verb == "EPSV" && dialogue.EqualASCII(argument, "ALL"):
		f.data.all = true
		f.Refuse(x, "200 EPSV ALL accepted\r\n")
	case verb == "PASV" && argument != "", argument != "" && argument != "1" && argument != "2":
		f.Refuse(x, rules.SyntaxError)
	case verb == "PASV" && f.data.all:
		f.Refuse(x, "503 EPSV ALL lets no other command be used\r\n")
	case f.required && !f.private:
		f.Refuse(x, needsPrivate+"\r\n")
	default:
		f.data.verb, f.data.network, f.data.again = verb, argument, false
		f.data.withdraw(x)
		f.ask(x)
	}
}

// ask asks for the connection. An upgraded backend is asked to protect it first.
func (f *filter) ask(x *dialogue.Exchange) {
	switch {
	case f.upgraded && !f.data.protected:
		f.ForwardAndWait(x, ownPBSZ, []byte("PBSZ 0\r\n"))
	case (f.data.verb == "EPSV") != f.data.again:
		f.ForwardAndWait(x, askedEPSV, []byte("EPSV\r\n"))
	default:
		f.ForwardAndWait(x, askedPASV, []byte("PASV\r\n"))
	}
}

const notProtected = "the FTP upstream refuses to protect data connections (PROT P), so clients are refused theirs: enable TLS " +
	"for its data connections"

// protectedBy takes the reply of an upgraded backend to PBSZ and PROT.
func (f *filter) protectedBy(x *dialogue.Exchange, verb, code string, last bool, line []byte) {
	if !last {
		return
	}
	f.Replied(x)
	switch {
	case code == "530":
		f.answer(x, string(line)) // it wants a login first
	case code[0] != '2':
		x.Warn(notProtected)
		f.answer(x, "425 Upstream does not protect data connections\r\n")
	case verb == ownPBSZ:
		f.ForwardAndWait(x, ownPROT, []byte("PROT P\r\n"))
	default:
		f.data.protected = true
		f.ask(x)
	}
}

// passiveReply takes where the backend waits. Only the port counts: the backend is where the
// configuration says, and a client must not be sent anywhere else. A backend that refuses, or
// cannot say it so, is asked in other words: ProFTPD answers PASV with an address of IPv6.
func (f *filter) passiveReply(x *dialogue.Exchange, verb, code string, last bool, line []byte) {
	if !last {
		return
	}
	f.Replied(x)
	port, ok := passivePort(verb, code, dialogue.TrimLine(line))
	switch {
	case ok:
		f.offer(x, port)
	case !f.data.again && (code == "227" || code == "229" || isRefusal(code) && code != "421" && code != "530"):
		f.data.again = true
		f.ask(x)
	case isRefusal(code):
		f.answer(x, string(line))
	default:
		x.CloseFor(dialogue.ErrBackend)
	}
}

// answer ends the wait of the client.
func (f *filter) answer(x *dialogue.Exchange, reply string) {
	f.Refuse(x, reply)
	f.GoOn(x)
}

// offer tells the client where to connect.
func (f *filter) offer(x *dialogue.Exchange, port uint16) {
	at, ok := x.OfferData(dialogue.DataOffer{Port: port, SecureClient: f.private, SecureBackend: f.upgraded})
	network := "2"
	if at.IsIPv4() {
		network = "1"
	}
	refusal := ""
	switch {
	case !ok:
		refusal = "425 No data connection is possible"
	case f.data.verb == "PASV" && network == "2":
		refusal = "425 PASV is for IPv4, use EPSV"
	case f.data.network != "" && f.data.network != network:
		refusal = "522 Network protocol not supported, use (" + network + ")"
	}
	f.data.offered, f.data.used = ok, false
	if refusal != "" {
		f.data.withdraw(x)
		f.answer(x, refusal+"\r\n")
		return
	}
	f.answer(x, entering(f.data.verb, at))
}

// entering words where to connect.
func entering(verb string, at dialogue.DataAddress) string {
	if verb == "EPSV" {
		return fmt.Sprintf("229 Entering extended passive mode (|||%d|)\r\n", at.Port)
	}
	return fmt.Sprintf("227 Entering passive mode (%s,%d,%d)\r\n", strings.ReplaceAll(at.Host, ".", ","), at.Port>>8, at.Port&0xff)
}

// passivePort finds the port in a reply: that of 229 is between delimiters that the server
// chooses (RFC 2428 section 3), that of 227 behind an address, with parentheses or without
// (RFC 1123 section 4.1.2.6).
func passivePort(verb, code, line string) (port uint16, ok bool) {
	switch {
	case verb == askedEPSV && code == "229":
		_, inside, opened := strings.Cut(line, "(")
		inside, _, closed := strings.Cut(inside, ")")
		if !opened || !closed || len(inside) < 5 || inside[0] != inside[1] || inside[1] != inside[2] || inside[2] != inside[len(inside)-1] {
			return 0, false
		}
		n, err := strconv.ParseUint(inside[3:len(inside)-1], 10, 16)
		return uint16(n), err == nil && n != 0
	case verb == askedPASV && code == "227":
		return pasvPort(line[3:])
	}
	return 0, false
}

// pasvPort takes the first six numbers between commas.
func pasvPort(text string) (port uint16, ok bool) {
	begin := strings.IndexAny(text, "0123456789")
	if begin < 0 {
		return 0, false
	}
	text = text[begin:]
	if end := strings.IndexFunc(text, func(r rune) bool { return r != ',' && (r < '0' || r > '9') }); end >= 0 {
		text = text[:end]
	}
	parts := strings.Split(text, ",")
	if len(parts) != 6 {
		return 0, false
	}
	for _, part := range parts {
		n, err := strconv.ParseUint(part, 10, 8)
		if err != nil {
			return 0, false
		}
		port = port<<8 | uint16(n)
	}
	return port, port != 0
}
