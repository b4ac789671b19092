package lenient

// nntp is a server of NNTP. It upgrades until the client has logged in.
type nntp struct {
	session
	dialogue bool // the next line is an answer in a login

	article bool // octets are those of an article
	dot     int
	taken   string // the answer to it
}

// Greeting implements Backend.
func (b *nntp) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("400 backend refuses\r\n")
	}
	return []byte("200 backend ready\r\n")
}

// Feed implements Backend.
func (b *nntp) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *nntp) step() bool {
	if b.article {
		return b.readArticle()
	}
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
	switch verb {
	case "STARTTLS":
		b.startTLS(line)
	case "AUTHINFO":
		b.authinfo(args, line)
	case "POST":
		b.ask("340 Send it", "240 Posted")
	case "IHAVE":
		b.ask("335 Send it", "235 Taken")
	case "TAKETHIS": // the article follows unasked
		b.article, b.dot, b.taken = true, dotLine, "239 Taken"
	case "QUIT":
		b.bye("205 Bye")
	default:
		b.other(verb)
	}
	return true
}

// startTLS upgrades until the client has logged in (RFC 4642 section 2.2.2).
func (b *nntp) startTLS(line []byte) {
	if b.loggedIn {
		b.say("502 Too late")
		return
	}
	b.forbid("STARTTLS", line)
	b.say("382 Continue")
}

// other commands need no looking at.
func (b *nntp) other(verb string) {
	switch verb {
	case "CAPABILITIES":
		b.say("101 Capabilities", "VERSION 2", "READER", "POST", "IHAVE", "STREAMING", "AUTHINFO USER SASL", "SASL PLAIN")
		if !b.has(Bare) && !b.loggedIn {
			b.say("STARTTLS")
		}
		b.say(".")
	case "MODE":
		b.say("200 Posting allowed")
	case "DATE":
		b.say("111 20260101000000")
	case "GROUP":
		b.say("211 1 1 1 local.test")
	case "ARTICLE":
		b.say("220 1 <1@backend>", "Subject: STARTTLS", "", "STARTTLS", "..", ".")
	case "HELP":
		b.say("100 Help", "STARTTLS", ".")
	case "LIST":
		b.say("215 Groups", "local.test 1 1 y", ".")
	case "CHECK":
		b.say("238 <1@backend>")
	case "COMPRESS":
		b.say("403 Not now")
	default:
		b.say("500 Unknown command")
	}
}

// ask asks for an article, unless it is refused.
func (b *nntp) ask(goOn, taken string) {
	if b.has(RefuseData) {
		b.say("440 Not allowed")
		return
	}
	b.article, b.dot, b.taken = true, dotLine, taken
	b.say(goOn)
}

// readArticle reads an article up to its end.
func (b *nntp) readArticle() bool {
	next := looseDot
	if b.has(StrictDots) {
		next = strictDot
	}
	for i, c := range b.buf {
		if b.dot = next(b.dot, c); b.dot == dotEnd {
			b.buf, b.article, b.afterCR = b.buf[i+1:], false, c == '\r'
			b.say(b.taken)
			return true
		}
	}
	b.buf = nil
	return false
}

func (b *nntp) authinfo(args []string, line []byte) {
	kind := ""
	if len(args) > 0 {
		kind = upper(args[0])
	}
	switch {
	case kind == "USER":
		b.say("381 Password")
	case kind == "PASS":
		b.login(true)
	case kind == "SASL" && len(args) == 2:
		b.dialogue = true
		b.say("383 =")
	case kind == "SASL" && len(args) > 2:
		b.login(true)
	default:
		b.say("501 Syntax error")
		return
	}
	b.forbidPassword("AUTHINFO", line)
}

func (b *nntp) login(ok bool) {
	if !ok || b.has(RefuseLogin) {
		b.say("481 Login refused")
		return
	}
	b.loggedIn = true
	b.say("281 Logged in")
}
