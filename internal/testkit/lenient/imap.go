package lenient

import "strings"

// imap is a server of IMAP. It upgrades, and takes the fields of ID for what a proxy
// says of its client, until the client has logged in.
type imap struct {
	session
	literalReader
	command

	dialogue bool // the next line is an answer in a login
}

// imapLiterals says which commands are known before a login, and which of them have
// strings in their grammar.
var imapLiterals = map[string]bool{
	"CAPABILITY": false, "NOOP": false, "LOGOUT": false, "STARTTLS": false,
	"LOGIN": true, "AUTHENTICATE": false, "ID": true, "ENABLE": false, "COMPRESS": false,
}

// Greeting implements Backend.
func (b *imap) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("* BYE backend refuses\r\n")
	}
	return []byte("* OK [CAPABILITY " + b.capabilities() + "] backend ready\r\n")
}

func (b *imap) capabilities() string {
	list := "IMAP4rev1 ID AUTH=PLAIN SASL-IR"
	if !b.has(Bare) && !b.loggedIn {
		list += " STARTTLS"
	}
	if !b.has(NoLiteralPlus) {
		list += " LITERAL+"
	}
	return list
}

// Feed implements Backend.
func (b *imap) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *imap) step() bool {
	if b.octets > 0 {
		return b.read(&b.session, &b.command)
	}
	line, ok := b.line()
	switch {
	case !ok:
		return false
	case b.dialogue:
		b.dialogue = false
		b.login(string(b.text(line)) != "*")
	case b.open:
		b.open = false
		b.rest(line, line)
	default:
		b.begin(line)
	}
	return true
}

// begin reads the first line of a command.
func (b *imap) begin(line []byte) {
	tag, rest := b.cut(b.text(line))
	verb, rest := b.cut(rest)
	b.command = command{tag: tag, verb: upper(verb)}
	strings, known := imapLiterals[b.verb]
	switch {
	case tag == "" || verb == "":
		b.tag, b.bad = "*", true
	case b.verb == "STARTTLS" && !b.loggedIn:
		b.forbid(b.verb, line)
	case b.loggedIn:
	case !known, b.has(FewLiterals) && !strings && hasLiteral(rest):
		b.bad = true
	}
	b.rest(line, rest)
}

func hasLiteral(rest []byte) bool {
	return strings.HasSuffix(strings.TrimRight(string(rest), " \r"), "}")
}

// rest reads the arguments on a line, and runs the command unless it goes on behind
// a literal.
func (b *imap) rest(line, rest []byte) {
	word := ""
	if !b.bad {
		word = b.arguments(&b.command, rest)
	}
	if word != "" && b.expect(&b.session, &b.command, word, true, "+ Go on") {
		return
	}
	b.bad = b.bad || word != ""
	if greedy := b.greedy(line); b.bad && greedy != "" && b.expect(&b.session, &b.command, greedy, true, "+ Go on") {
		return
	}
	b.execute(line)
}

func (b *imap) execute(line []byte) {
	switch {
	case b.bad:
		b.say(b.tag + " BAD Syntax error")
		return
	case b.loggedIn && b.verb != "CAPABILITY" && b.verb != "LOGOUT":
		b.say(b.tag + " OK Done")
		return
	}
	switch b.verb {
	case "CAPABILITY":
		b.say("* CAPABILITY "+b.capabilities(), b.tag+" OK Done")
	case "LOGOUT":
		b.bye("* BYE Bye", b.tag+" OK Done")
	case "ID":
		b.id()
	case "LOGIN":
		b.forbidPassword(b.verb, line)
		b.login(len(b.args) == 2)
	case "AUTHENTICATE":
		b.forbidPassword(b.verb, line)
		if b.dialogue = len(b.args) == 1; b.dialogue {
			b.say("+ ")
			return
		}
		b.login(len(b.args) == 2)
	case "COMPRESS":
		b.say(b.tag + " NO Log in first")
	default:
		b.say(b.tag + " OK Done")
	}
}

// id believes the fields whose names begin with "x-" (Dovecot's, for its proxies).
func (b *imap) id() {
	for i, field := range b.args {
		if i%2 == 0 && strings.HasPrefix(upper(field), "X-") {
			b.forbid("ID", []byte(field))
		}
	}
	b.say("* ID NIL", b.tag+" OK Done")
}

func (b *imap) login(ok bool) {
	if !ok || b.has(RefuseLogin) {
		b.say(b.tag + " NO Login refused")
		return
	}
	b.loggedIn = true
	b.say(b.tag + " OK [CAPABILITY " + b.capabilities() + "] Logged in")
}
