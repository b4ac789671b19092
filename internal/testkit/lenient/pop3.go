package lenient

// pop3 is a server of POP3. It upgrades, and grants XCLIENT, until the client has
// logged in.
type pop3 struct {
	session
	dialogue bool // the next line is an answer in a login
}

// Greeting implements Backend.
func (b *pop3) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("-ERR backend refuses\r\n")
	}
	return []byte("+OK backend ready\r\n")
}

// Feed implements Backend.
func (b *pop3) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *pop3) step() bool {
	line, ok := b.line()
	switch {
	case !ok:
		return false
	case b.dialogue:
		b.dialogue = false
		b.login(string(b.text(line)) != "*")
		return true
	}
	verb, args := b.words(line)
	switch {
	case b.loggedIn:
		b.transaction(verb)
	case verb == "STLS" || verb == "XCLIENT":
		b.forbid(verb, line)
		b.say("+OK")
	default:
		b.authorization(verb, args, line)
	}
	return true
}

// authorization is what can be said before a login.
func (b *pop3) authorization(verb string, args []string, line []byte) {
	switch verb {
	case "CAPA":
		b.capabilities()
	case "USER":
		b.forbidPassword(verb, line)
		b.say("+OK")
	case "PASS", "APOP":
		b.forbidPassword(verb, line)
		b.login(true)
	case "AUTH":
		b.auth(args, line)
	case "NOOP":
		b.say("+OK")
	case "QUIT":
		b.bye("+OK Bye")
	default:
		b.say("-ERR Unknown command")
	}
}

// auth lists the mechanisms if there is no argument, as some servers do.
func (b *pop3) auth(args []string, line []byte) {
	switch len(args) {
	case 0:
		b.say("+OK", "PLAIN", ".")
		return
	case 1:
		b.dialogue = true
		b.say("+ ")
	default:
		b.login(true)
	}
	b.forbidPassword("AUTH", line)
}

func (b *pop3) login(ok bool) {
	if !ok || b.has(RefuseLogin) {
		b.say("-ERR Login refused")
		return
	}
	b.loggedIn = true
	b.say("+OK Logged in")
}

func (b *pop3) capabilities() {
	b.say("+OK", "TOP", "UIDL", "USER", "SASL PLAIN")
	if !b.has(Bare) && !b.loggedIn {
		b.say("STLS", "XCLIENT ADDR PORT")
	}
	b.say(".")
}

// transaction is what can be said after a login.
func (b *pop3) transaction(verb string) {
	switch verb {
	case "CAPA":
		b.capabilities()
	case "LIST", "UIDL":
		b.say("+OK", "1 100", ".")
	case "RETR", "TOP":
		b.say("+OK", "Subject: STLS", "", "STLS", "..", ".")
	case "STAT", "NOOP", "DELE", "RSET":
		b.say("+OK")
	case "QUIT":
		b.bye("+OK Bye")
	default:
		b.say("-ERR Unknown command")
	}
}
