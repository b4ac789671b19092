package attacks

import (
	"fmt"
	"slices"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit/lenient"
)

func pop3Rows() []Row {
	var rows []Row
	for _, before := range [][]string{nil, {"CAPA\r\n"}} {
		s := &speller{before: before}
		s.spell("STLS")
		s.spell("XCLIENT ADDR=192.0.2.5")
		rows = append(rows, s.rows...)
	}
	add := adder(&rows)
	for _, command := range []string{"STLS\r\n", "XCLIENT ADDR=192.0.2.5\r\n"} {
		verb := command[:4]
		refuse := lenient.RefuseLogin
		add("greeting refuses", verb, lenient.RefuseGreeting, "NOOP\r\n", command)
		add("login refused", "PASS before "+verb, refuse, "USER a\r\n", "PASS b\r\n", command)
		add("login refused", "AUTH before "+verb, refuse, "AUTH PLAIN AA\r\n", command)
		add("login refused", "a dialogue before "+verb, refuse, "AUTH PLAIN\r\n", "AA\r\n", command)
		add("login refused", "cancelled before "+verb, 0, "AUTH PLAIN\r\n", "*\r\n", command)
		add("login refused", "APOP before "+verb, refuse, "APOP a b\r\n", command)
		add("login refused", "a long answer before "+verb, refuse, "AUTH PLAIN\r\n", strings.Repeat("A", 17000)+"\r\n", command)
		add("folds", "PASS before "+verb, refuse, "PA\u017f\u017f b\r\n", command)
		add("list of mechanisms", verb, 0, "AUTH\r\n", command)
		add("list of mechanisms", "a blank before "+verb, 0, "AUTH \r\n", command)
		add("replies out of step", "CR before PASS before "+verb, lenient.BareCR|refuse, "NOOP\rNOOP\r\nPASS b\r\n", command)
		add("replies out of step", "CR before CAPA before "+verb, lenient.BareCR, "NOOP\rAUTH\r\nCAPA\r\n", command)
		add("replies out of step", "a list before PASS before "+verb, refuse, "AUTH\x00\r\nPASS b\r\n", command)
		add("replies out of step for a split line", "PASS before "+verb, lenient.SplitLong|refuse, "NOOP"+strings.Repeat(" ", 2044)+"NOOP\r\nPASS b\r\n", command)
		add("many commands", verb, 0, strings.Repeat("NOOP\r\n", 2000)+command)
	}
	return rows
}

func nntpRows() []Row {
	s := &speller{}
	s.spell("STARTTLS")
	rows := s.rows
	add := adder(&rows)
	for _, ending := range messageEndings() {
		if !strings.Contains(ending, "\x00") {
			add("end of an article", fmt.Sprintf("%q", ending), 0, "POST\r\n", "Subject: x\r\n\r\nx"+ending+"STARTTLS\r\n\r\n.\r\n")
			add("end of an article", fmt.Sprintf("TAKETHIS %q", ending), 0, "TAKETHIS <a@b>\r\nx"+ending+"STARTTLS\r\n\r\n.\r\n")
		}
	}
	add("article refused", "POST", lenient.RefuseData, "POST\r\n", "STARTTLS\r\n.\r\n")
	add("article refused", "IHAVE", lenient.RefuseData, "IHAVE <a@b>\r\n", "STARTTLS\r\n.\r\n")
	add("greeting refuses", "STARTTLS", lenient.RefuseGreeting, "DATE\r\n", "STARTTLS\r\n")
	add("login refused", "PASS", lenient.RefuseLogin, "AUTHINFO USER a\r\n", "AUTHINFO PASS b\r\n", "STARTTLS\r\n")
	add("login refused", "SASL", lenient.RefuseLogin, "AUTHINFO SASL PLAIN AA\r\n", "STARTTLS\r\n")
	add("login refused", "a dialogue", lenient.RefuseLogin, "AUTHINFO SASL PLAIN\r\n", "AA\r\n", "STARTTLS\r\n")
	add("compression refused", "COMPRESS", 0, "COMPRESS DEFLATE\r\n", "STARTTLS\r\n")
	add("folds", "COMPRESS", 0, "COMPRE\u017f\u017f DEFLATE\r\n", "STARTTLS\r\n")
	add("replies out of step", "CR", lenient.BareCR|lenient.RefuseLogin, "DATE\rMODE READER\r\nAUTHINFO PASS b\r\n", "STARTTLS\r\n")
	add("in a list", "behind HELP", 0, "HELP\r\nSTARTTLS\r\n")
	return rows
}

// adder adds a row, said in its steps and in one.
func adder(rows *[]Row) func(family, name string, quirks lenient.Quirk, steps ...string) {
	return func(family, name string, quirks lenient.Quirk, steps ...string) {
		*rows = append(*rows, Row{family, name, steps, quirks}, Row{family, name + " in one", []string{strings.Join(steps, "")}, quirks})
	}
}

// literalQuirks are ways to read literals.
var literalQuirks = []lenient.Quirk{0, lenient.GreedyLiterals, lenient.FewLiterals}

// imapLiteralQuirks are those that there are only in IMAP.
var imapLiteralQuirks = []lenient.Quirk{lenient.NoLiteralPlus, lenient.Literal8, lenient.Literal8 | lenient.GreedyLiterals}

// literalRows has lines whose end some take for a literal and others do not. Behind
// each is a command for those who do not, or a line that hides one from those who
// do not either. In lines %s stands for the literal.
func literalRows(lines []string, all []lenient.Quirk, command, inner string) []Row {
	var rows []Row
	add := adder(&rows)
	hiding := fmt.Sprintf(inner+"\r\n", fmt.Sprintf("{%d+}", len(command)))
	for _, line := range lines {
		for _, quirks := range all {
			for _, form := range []string{"{%d+}", "{%d}", "~{%d+}"} {
				name := fmt.Sprintf(line+" %d", form, quirks)
				first := fmt.Sprintf(line, fmt.Sprintf(form, len(command))) + "\r\n"
				add("literal", name, quirks, first, command)
				rows = append(rows, Row{"literal", name + " and more", []string{first, command, "\r\n", command}, quirks})
				first = fmt.Sprintf(line, fmt.Sprintf(form, len(hiding))) + "\r\n"
				rows = append(rows, Row{"literal that hides another", name, []string{first + hiding + command + "\r\n"}, quirks})
			}
		}
		for _, size := range literalSizes {
			rows = append(rows, Row{"size of a literal", fmt.Sprintf(line, size), []string{fmt.Sprintf(line, size) + "\r\n", command}, 0})
		}
	}
	return rows
}

var literalSizes = []string{
	"{+}", "{}", "{0+}", "{0}", "{-1+}", "{ 12+}", "{12 +}", "{12-}", "{12++}", "{+12}", "{4294967308+}", "{18446744073709551628+}",
	"{99999999999999999999+}", "{0x12+}", "{012+}", "{12+} ", "{12+}\x00", "{12+}\t", "{12+}\v", "\x00{12+}", "{12+}\r", "{12+}x",
}

func imapRows() []Row {
	s := &speller{splits: 16 << 10} // Dovecot, Cyrus and Courier refuse a long line as a whole
	s.spell("a STARTTLS")
	s.spell("a ID (\"x-originating-ip\" \"192.0.2.5\")")
	rows := append(s.rows, literalRows([]string{
		"a NOOP \"x%s", "a NOOP %s", "a NOOP x%s", "a X %s", "a LOGIN %s", "a LOGIN x %s", "a LOGIN \"%s", "a LOGIN x (%s", "%s", "a %s", "a ID (%s",
		"a ID (\"a\" %s", "a AUTHENTICATE %s", "a LOGIN x y %s", "a LOGIN x%s", "a NOOP (\"%s", "a NOOP \"\\\"%s", " a LOGIN %s",
	}, slices.Concat(literalQuirks, imapLiteralQuirks), "b STARTTLS\r\n", "b ID (\"a\" %s")...)
	rows = append(rows, idRows()...)
	add := adder(&rows)
	command, refuse := "b STARTTLS\r\n", lenient.RefuseLogin
	add("greeting refuses", "BYE", lenient.RefuseGreeting, "a NOOP\r\n", command)
	add("compression refused", "COMPRESS", 0, "a COMPRESS DEFLATE\r\n", command)
	add("compression refused", "in lower case", 0, "a compress deflate\r\n", command)
	add("folds", "COMPRESS", 0, "a COMPRE\u017f\u017f DEFLATE\r\n", command)
	add("inside a quoted string", "STARTTLS", lenient.BareCR, "a LOGIN \"a\rb STARTTLS\r\" c\r\n")
	add("tag used twice", "NOOP, LOGIN", refuse, "a NOOP\r\na LOGIN b c\r\n", command)
	add("tag used twice", "LOGIN, NOOP", refuse, "a LOGIN b c\r\na NOOP\r\n", command)
	add("tag used twice", "LOGIN twice, NOOP", refuse, "a LOGIN b c\r\na LOGIN b c\r\na NOOP\r\na NOOP\r\n", command)
	add("tag used twice", "LOGIN without a space", refuse, "a LOGIN\r\na NOOP\r\n", command)
	add("tag used twice", "NOOP, AUTHENTICATE", refuse, "a NOOP\r\na AUTHENTICATE PLAIN\r\n", "AA\r\n", command)
	add("login refused", "LOGIN", refuse, "a LOGIN b c\r\n", command)
	add("login refused", "with literals", refuse, "a LOGIN {1}\r\n", "b {1}\r\n", "c\r\n", command)
	add("login refused", "with literals at once", refuse, "a LOGIN {1+}\r\nb {1+}\r\nc\r\n", command)
	add("login refused", "AUTHENTICATE", refuse, "a AUTHENTICATE PLAIN\r\n", "AA\r\n", command)
	add("login refused", "cancelled", 0, "a AUTHENTICATE PLAIN\r\n", "*\r\n", command)
	add("login refused", "a long answer", refuse, "a AUTHENTICATE PLAIN\r\n", strings.Repeat("A", 17000)+"\r\n", command)
	add("login refused", "at once", refuse, "a AUTHENTICATE PLAIN AA\r\n", command)
	add("login refused", "TAB", refuse, "a\tAUTHENTICATE\tPLAIN\r\n", "AA\r\n", command)
	add("strange tags", "*", 0, "* STARTTLS\r\n")
	add("strange tags", "+", 0, "+ STARTTLS\r\n")
	add("strange tags", "a brace", 0, "{3+} STARTTLS\r\n", command)
	add("strange tags", "a quote", 0, "\"a\" STARTTLS\r\n")
	add("strange tags", "long", 0, strings.Repeat("a", 17000)+" STARTTLS\r\n")
	add("many commands", "NOOP", 0, strings.Repeat("a NOOP\r\n", 2000)+command)
	return rows
}

// idRows has what a proxy says of its client, in every kind of string.
func idRows() []Row {
	var rows []Row
	add := adder(&rows)
	for _, field := range []string{
		"x-originating-ip", "X-Originating-Port", "x-connected-ip", "x-connected-port", "x-session-id", "x-session-ext-id", "x-proxy-ttl",
		"x-forward-a", "x-client-transport",
	} {
		n := len(field)
		for _, form := range []string{
			`"` + field + `"`, field, `"\` + field + `"`, fmt.Sprintf("{%d}\r\n%s", n, field), fmt.Sprintf("{%d+}\r\n%s", n, field),
			`"name" "a" "` + field + `"`, `"name" {1+}` + "\r\nb \"" + field + `"`, `"name" NIL ` + field, `"a\"" "b\\" "` + field + `"`,
			"\t\"" + field + "\"", "{0+}\r\n NIL \"" + field + `"`,
		} {
			for name, list := range map[string]string{
				"": "a ID (" + form + " \"192.0.2.5\")\r\n", "lower case ": "a id (" + form + " \"192.0.2.5\")\r\n",
				"two blanks ": "a ID  ( " + form + " \"192.0.2.5\")\r\n", "two lists ": "a ID NIL\r\nb ID (" + form + " \"1\" \"name\" \"x\")\r\n",
			} {
				rows = append(rows, Row{"fields of ID", name + form, []string{list}, 0})
			}
		}
		add("fields of ID", "a wait "+field, 0, fmt.Sprintf("a ID ({%d}\r\n", n), field+" \"192.0.2.5\")\r\n")
		add("fields of ID", "a long list "+field, 0, "a ID (\"name\" \""+strings.Repeat("x", 17000)+"\" \""+field+"\" \"1\")\r\n")
	}
	return rows
}

func sieveRows() []Row {
	s := &speller{splits: 8 << 10} // Dovecot and Cyrus refuse a long line as a whole
	s.spell("STARTTLS")
	s.spell("XCLIENT \"ADDR=192.0.2.5\"")
	var rows []Row
	add := adder(&rows)
	rows = append(rows, literalRows([]string{
		"NOOP \"a%s", "NOOP %s", "NOOP x%s", "X %s", "%s", "CAPABILITY %s", "AUTHENTICATE %s", "AUTHENTICATE \"PLAIN\" %s", "NOOP \"a\" %s",
		"NOOP \"\\\"%s", "XCLIENT ADDR=192.0.2.5 %s", "STARTTLS %s", "LOGOUT \"%s",
	}, literalQuirks, "STARTTLS\r\n", "NOOP %s")...)
	for _, command := range []string{"STARTTLS\r\n", "XCLIENT \"ADDR=192.0.2.5\"\r\n"} {
		verb := command[:4]
		refuse := lenient.RefuseLogin
		add("greeting refuses", verb, lenient.RefuseGreeting, "NOOP\r\n", command)
		add("login refused", "at once before "+verb, refuse, "AUTHENTICATE \"PLAIN\" \"AA\"\r\n", command)
		add("login refused", "a dialogue before "+verb, refuse, "AUTHENTICATE \"PLAIN\"\r\n", "\"AA\"\r\n", command)
		add("login refused", "a literal before "+verb, refuse, "AUTHENTICATE \"PLAIN\"\r\n", "{2+}\r\nAA\r\n", command)
		add("login refused", "cancelled before "+verb, 0, "AUTHENTICATE \"PLAIN\"\r\n", "\"*\"\r\n", command)
		add("login refused", "a bad answer before "+verb, refuse, "AUTHENTICATE \"PLAIN\"\r\n", "\"AA{4+}\r\n", command)
		add("inside a quoted string", verb, lenient.BareCR, "NOOP \"a\r"+strings.TrimSpace(command)+"\r\"\r\n")
		add("replies out of step", "CR before "+verb, lenient.BareCR|refuse, "NOOP\rNOOP\r\nAUTHENTICATE \"PLAIN\" \"AA\"\r\n", command)
		add("many commands", verb, 0, strings.Repeat("NOOP\r\n", 2000)+command)
	}
	return append(s.rows, rows...)
}
