package attacks

import (
	"fmt"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

const xclient = "XCLIENT ADDR=192.0.2.5\r\n"

// mailRows is the table of SMTP, or of LMTP: the commands in all their spellings, and
// what can be done around them.
func mailRows(hello string, commands ...string) []Row {
	ehlo := hello + " client.example\r\n"
	s := &speller{before: []string{ehlo}}
	for _, command := range commands {
		s.spell(command)
	}
	rows := append(s.rows, messageRows(ehlo)...)
	rows = append(rows, chunkRows(ehlo)...)
	return append(rows, stateRows(ehlo)...)
}

// messageEndings are all that a server might take for the end of a message, made of
// line ends, a dot and NUL. Among them are those of the scanners, and CRLF.CRLF.
func messageEndings() []string {
	var all []string
	for _, before := range []string{"\n", "\r", "\r\n", "\r\r\n", "\n\n", "\n\r", "\r\n\x00", "\n\x00", "\r\r"} {
		for _, dot := range []string{".", ".\x00"} {
			for _, behind := range []string{"\n", "\r", "\r\n", "\r\r\n", "\n\r", "\n\n", "\r\r"} {
				all = append(all, before+dot+behind)
			}
		}
	}
	return all
}

// messageRows has what follows an ending, which may be the end or not.
func messageRows(ehlo string) []Row {
	var rows []Row
	envelope := ehlo + "MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\n"
	add := func(name, text string) {
		loose, with := lenient.Quirk(0), ""
		if strings.Contains(text, "\x00") {
			loose, with = lenient.SkipNUL, " with NUL"
		}
		for _, quirks := range []lenient.Quirk{loose, loose | lenient.StrictDots} {
			rows = append(rows,
				Row{"end of a message" + with, name, []string{envelope, "DATA\r\n", text + xclient + "\r\n.\r\n"}, quirks},
				Row{"end of a message in steps" + with, name, []string{envelope, "DATA\r\n", text, "AUTH PLAIN AA\r\n", "\r\n.\r\n", xclient}, quirks},
				Row{"end of a message in one" + with, name, []string{envelope + "DATA\r\n" + text + xclient + "\r\n.\r\n"}, quirks},
			)
		}
	}
	for _, ending := range messageEndings() {
		add(fmt.Sprintf("%q", ending), "Subject: x\r\n\r\ntext"+ending)
	}
	for _, ending := range []string{".\n", ".\r", ".\r\n", ".\r\r\n", "\n.\n"} {
		add(fmt.Sprintf("at once %q", ending), ending)
	}
	for _, n := range []int{16380, 16384, 65536} {
		long := strings.Repeat("x", n)
		add(fmt.Sprintf("CRLF.LF behind %d octets", n), long+"\r\n.\n")
		add(fmt.Sprintf("LF.LF behind %d octets", n), long+"\n.\n")
		add(fmt.Sprintf("CR.CR behind %d octets", n), long+"\r.\r")
		add(fmt.Sprintf("no dot behind %d octets", n), long+".\r\n")
	}
	return rows
}

// chunkRows has octets that may be those of a chunk or commands.
func chunkRows(ehlo string) []Row {
	var rows []Row
	add := func(family, name, said string, quirks lenient.Quirk) {
		rows = append(rows,
			Row{family, name, []string{ehlo, said}, quirks},
			Row{family, name + " in one", []string{ehlo + said}, quirks})
	}
	add("chunk that was not announced", "a command", "BDAT 24\r\n"+xclient, 0)
	add("chunk that was not announced", "the last", "BDAT 24 LAST\r\n"+xclient, 0)
	for _, size := range []string{
		"4294967296", "4294967297", "8589934592", "18446744073709551616", "9223372036854775808", "4611686018427387904", "-4294967296",
		"+0", "-0", "0x18", "24x", "24,", "1e9", "", "\"24\"", "+24", "0 24", "=24", "\u0662\u0664", "00", "024",
	} {
		for _, quirks := range []lenient.Quirk{lenient.Chunking, lenient.Chunking | lenient.ScanfSizes} {
			add("size of a chunk", fmt.Sprintf("%s %d", size, quirks), "BDAT "+size+"\r\n"+xclient+xclient, quirks)
			add("size of a chunk", fmt.Sprintf("%s last %d", size, quirks), "BDAT "+size+" LAST\r\n"+xclient+xclient, quirks)
		}
	}
	for name, c := range controls() {
		for _, inner := range []string{xclient, "DATA\r\n", "EHLO a\r\n", "AUTH PLAIN\r\n"} {
			said := fmt.Sprintf("BDAT%s%d\r\n%sNOOP\r\n%s", c, len(inner), inner, xclient)
			add("chunk in another spelling", name+" "+inner[:4], said, lenient.Chunking)
			said = fmt.Sprintf("BDAT %d%s9\r\n%sNOOP\r\n%s", len(inner), c, inner, xclient)
			add("chunk in another spelling", "before "+name+" "+inner[:4], said, lenient.Chunking)
		}
	}
	return rows
}

// stateRows has what gets a filter out of step, or out of the way, too early.
func stateRows(ehlo string) []Row {
	var rows []Row
	add := func(family, name string, quirks lenient.Quirk, steps ...string) {
		rows = append(rows, Row{family, name, steps, quirks}, Row{family, name + " in one", []string{strings.Join(steps, "")}, quirks})
	}
	for _, command := range []string{xclient, "STARTTLS\r\n", "AUTH PLAIN AGEAYg==\r\n"} {
		verb := command[:4]
		add("no introduction", verb, 0, command)
		add("HELO first", verb, 0, "HELO a\r\n", command)
		add("introduction refused", verb, lenient.RefuseHello, ehlo, command)
		add("introduction refused", "a second behind "+verb, lenient.RefuseHello, "NOOP\r\n", ehlo, ehlo, command)
		add("greeting refuses", verb, lenient.RefuseGreeting, "NOOP\r\n", command)
		add("greeting refuses", "EHLO before "+verb, lenient.RefuseGreeting, ehlo, ehlo, command)
		add("DATA refused", verb, lenient.RefuseData, ehlo, "DATA\r\n", command)
		add("login refused", "PLAIN before "+verb, lenient.RefuseLogin, ehlo, "AUTH PLAIN AA\r\n", command)
		add("login refused", "no mechanism before "+verb, 0, ehlo, "AUTH X\r\n", command)
		add("login refused", "cancelled before "+verb, 0, ehlo, "AUTH LOGIN\r\n", "*\r\n", command)
		add("login", "PLAIN before "+verb, 0, ehlo, "AUTH PLAIN\r\n", "AA\r\n", command)
		add("login", "LOGIN before "+verb, 0, ehlo, "AUTH LOGIN\r\n", "AA\r\n", "AA\r\n", command)
		add("login", "long answer before "+verb, 0, ehlo, "AUTH PLAIN\r\n", strings.Repeat("A", 17000)+"\r\n", command)
		add("login", "TAB before "+verb, 0, ehlo, "AUTH\tPLAIN\r\n", "AA\r\n", command)
		quoted := "MAIL FROM:<\"a\r" + strings.TrimSpace(command) + "\r\"@example.com>\r\n"
		add("inside a quoted string", verb, lenient.BareCR, ehlo, quoted)
		add("replies out of step", "CR before "+verb, lenient.BareCR, "NOOP\rNOOP\r\n"+ehlo, command)
		add("replies out of step for a split line", verb, lenient.SplitLong, "NOOP"+strings.Repeat(" ", 2044)+"NOOP\r\n"+ehlo, command)
		add("replies out of step", "a long split line before "+verb, lenient.SplitLong, strings.Repeat("NOOP"+strings.Repeat(" ", 2044), 9)+"\r\n"+ehlo, command)
		add("replies out of step", "a chunk before "+verb, 0, "BDAT 12\r\nNOOP\r\nNOOP\r\n"+ehlo, command)
		add("replies out of step", "a message before "+verb, 0, ehlo, "DATA\r\n", "x\n.\nNOOP\r\nNOOP\r\n"+ehlo, command)
		add("many commands", verb, 0, ehlo, strings.Repeat("NOOP\r\n", 2000)+command)
		add("many line ends", verb, 0, ehlo, strings.Repeat("\n", 5000)+command)
	}
	return rows
}
