// Package attacks is the table of what clients do to get a command past a filter,
// and plays it. Each row is a session; the oracle is a lenient backend, which must
// not see a command that is forbidden.
package attacks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

// A Row is one session of a client.
type Row struct {
	Family string // what rows have in common; one word of a test's name
	Name   string
	Steps  []string      // each is said once all before it has been answered
	Quirks lenient.Quirk // the backend has these in any case
}

// size is how many octets the client says.
func (r *Row) size() int {
	n := 0
	for _, s := range r.Steps {
		n += len(s)
	}
	return n
}

// Rows is the table of a protocol, sorted; empty for one that is not in it.
func Rows(protocol string) []Row {
	table, ok := tables[protocol]
	if !ok {
		return nil
	}
	rows := table()
	slices.SortStableFunc(rows, func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Family, b.Family), strings.Compare(a.Name, b.Name))
	})
	return rows
}

var tables = map[string]func() []Row{
	"amqp":     amqpRows,
	"ftp":      ftpRows,
	"http":     httpRows,
	"imap":     imapRows,
	"irc":      ircRows,
	"ldap":     ldapRows,
	"lmtp":     func() []Row { return mailRows("LHLO", "XRCPTFORWARD x") },
	"mysql":    mysqlRows,
	"nbd":      nbdRows,
	"nntp":     nntpRows,
	"pop3":     pop3Rows,
	"postgres": postgresRows,
	"rdp":      rdpRows,
	"sieve":    sieveRows,
	"smtp": func() []Row {
		return mailRows("EHLO", "STARTTLS", "XCLIENT ADDR=192.0.2.5", "XFORWARD NAME=a", "AUTH PLAIN AGEAYg==")
	},
	"tds":    tdsRows,
	"telnet": telnetRows,
	"xmpp":   xmppRows,

	"xmpp-server": xmppServerRows,
}

// A Mode is how the client has come to where the filter stands.
type Mode struct {
	Name         string
	Cleartext    bool   // it stays in plaintext
	Passwords    bool   // and may send a password so
	Introduction string // and has introduced itself with this
	ImplicitTLS  bool   // it began with TLS
	Upgraded     bool   // it is the backend that is inside TLS
}

// Quirks are those that a backend has in this mode.
func (m *Mode) Quirks() lenient.Quirk {
	if m.Cleartext && !m.Passwords {
		return lenient.Cleartext
	}
	return 0
}

// Modes are those that a protocol has.
func Modes(protocol string) []Mode {
	tls := []Mode{{Name: "tls"}, {Name: "implicit", ImplicitTLS: true}}
	plain, passwords := Mode{Name: "plain", Cleartext: true}, Mode{Name: "passwords", Cleartext: true, Passwords: true}
	switch protocol {
	case "smtp":
		plain.Introduction = "EHLO client.example"
	case "lmtp":
		plain.Introduction = "LHLO client.example"
	case "rdp", "xmpp", "xmpp-server": // a client of RDP that asks for TLS does not stay in plaintext
		return tls
	case "telnet":
		return append(tls, passwords)
	case "mysql": // the greeting of which is the backend's in any case
		return []Mode{tls[0], passwords, plain}
	case "postgres":
		return append(tls, plain, Mode{Name: "upgraded", Upgraded: true})
	case "amqp":
		return append(tls, plain, passwords, Mode{Name: "upgraded", Upgraded: true})
	case "imap", "pop3", "sieve":
		return append(tls, passwords)
	case "tds": // in the first two, what a client says without TLS passes as it is
		return []Mode{tls[1], passwords, plain, tls[0]}
	case "nbd":
		return []Mode{tls[0], plain, tls[1]} // only one that began with TLS says its flags behind it
	}
	passwords.Introduction = plain.Introduction
	return append(tls, plain, passwords)
}

// Variants are kinds of backends that a row may meet.
func (r *Row) Variants() []lenient.Quirk {
	all := []lenient.Quirk{0, lenient.BareCR | lenient.AnyControl}
	if r.size() >= 2048 {
		all = []lenient.Quirk{0, lenient.SplitLong, lenient.DropLong}
	}
	for i := range all {
		all[i] |= r.Quirks
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Cut is the size of pieces to play a row in, for the first time, the second and so
// on; 0 is as it is.
func (r *Row) Cut(n int) int {
	switch {
	case n%2 == 0:
		return 0
	case r.size() < 600:
		return 1
	}
	return 4096
}

// A speller makes rows of a command in all its spellings.
type speller struct {
	before []string // what is said first
	splits int      // no server is known that splits lines which are shorter
	rows   []Row
}

func (s *speller) add(family, name, said string) {
	s.rows = append(s.rows, Row{Family: family, Name: name, Steps: append(slices.Clone(s.before), said)})
}

var controlNames = map[byte]string{0: "NUL", '\t': "TAB", '\v': "VT", '\f': "FF", '\r': "CR", 0x1a: "SUB", 0x1b: "ESC", 0x7f: "DEL"}

// controls are the control characters but LF.
func controls() map[string]string {
	all := map[string]string{}
	for c := range byte(0x20) {
		all[fmt.Sprintf("0x%02x", c)] = string([]byte{c})
	}
	for c, name := range controlNames {
		delete(all, fmt.Sprintf("0x%02x", c))
		all[name] = string([]byte{c})
	}
	delete(all, "0x0a")
	return all
}

// spell adds a command. Its verb is the first word, or the second if it has a tag.
func (s *speller) spell(command string) {
	at := strings.IndexByte(command, ' ')
	if at >= 0 && strings.HasPrefix(command, "a ") {
		if next := strings.IndexByte(command[2:], ' '); next >= 0 {
			at = 2 + next
		} else {
			at = len(command)
		}
	}
	verb, args := command, ""
	if at >= 0 {
		verb, args = command[:at], command[at:]
	}
	s.add("as it is", verb, command+"\r\n")
	s.add("as it is", "lower case "+verb, strings.ToLower(command)+"\r\n")
	s.add("as it is", "LF "+verb, command+"\n")
	for name, c := range controls() {
		if args != "" {
			s.add("control character for a blank", name+" "+verb, verb+c+args[1:]+"\r\n")
			s.add("control character in the arguments", name+" "+verb, verb+args[:2]+c+args[2:]+"\r\n")
		}
		s.add("control character at the beginning", name+" "+verb, c+command+"\r\n")
		s.add("control character behind the verb", name+" "+verb, verb+c+args+"\r\n")
		s.add("control character at the end", name+" "+verb, command+c+"\r\n")
		s.add("control character and more at the end", name+" "+verb, command+c+"x\r\n")
	}
	s.ends(verb, command)
	s.pad(verb, args)
}

func (s *speller) ends(verb, command string) {
	for name, end := range map[string]string{"CR": "\r", "CRCRLF": "\r\r\n", "LFCR": "\n\r", "CRLFLF": "\r\n\n"} {
		s.add("line end", name+" "+verb, command+end)
		s.add("line end", name+" before "+verb, "NOOP"+end+command+"\r\n")
	}
	s.add("blanks", "before "+verb, " "+command+"\r\n")
	s.add("blanks", "two before "+verb, "  "+command+"\r\n")
	s.add("blanks", "behind "+verb, command+" \r\n")
	s.add("empty lines", verb, "\r\n\n\r\n"+command+"\r\n")
	s.add("folds", verb, strings.ReplaceAll(command, "S", "\u017f")+"\r\n"+command+"\r\n")
}

// paddings are the lengths of lines around limits.
var paddings = []int{2047, 2048, 2049, 4096, 8192, 16383, 16384, 16385, 17000, 65535, 65536, 65537, 70000}

func (s *speller) pad(verb, args string) {
	for _, n := range paddings {
		blanks := strings.Repeat(" ", n-len(verb)-len(args)-2)
		long := fmt.Sprintf("%d %s", n, verb)
		s.add("padded at the end", long, verb+args+blanks+"\r\n")
		s.add("padded before the arguments", long, verb+blanks+args+"\r\n")
		s.add("padded at the beginning", long, blanks+verb+args+"\r\n")
		s.add("padded with octets", long, verb+args+" "+strings.Repeat("x", len(blanks))+"\r\n")
		s.add("behind a long line", long, "NOOP"+blanks+"\r\n"+verb+args+"\r\n")
		family := "at the end of a long line"
		switch {
		case n < s.splits:
			continue
		case n < 16<<10-1:
			family = "at the end of a line that some split" // which is shorter than others' limits
		}
		s.add(family, long, "NOOP"+strings.Repeat(" ", n-4)+verb+args+"\r\n")
	}
}
