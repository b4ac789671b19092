package lenient

import "bytes"

// irc is a server of IRC. It upgrades, and takes a gateway's word for who the client is,
// until the client is registered.
type irc struct {
	session
	nick, user bool
}

// Greeting implements Backend. Servers may send notices unasked.
func (b *irc) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("ERROR :Closing Link: backend refuses\r\n")
	}
	return nil
}

// Feed implements Backend.
func (b *irc) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *irc) step() bool {
	line, ok := b.line()
	if !ok {
		return false
	}
	verb, args := b.words(b.command(line))
	switch verb {
	case "STARTTLS", "WEBIRC":
		b.upgrade(verb, line)
	case "PASS", "OPER", "AUTHENTICATE":
		b.forbidPassword(verb, line)
		b.login(verb)
	case "NICK":
		b.register(&b.nick)
	case "USER":
		b.register(&b.user)
	default:
		b.other(verb, args)
	}
	return true
}

// command is a line as InspIRCd reads it: a NUL is a blank, a CR is nothing, and tags and
// a source are passed over.
func (b *irc) command(line []byte) []byte {
	line = bytes.ReplaceAll(bytes.ReplaceAll(line, []byte{0}, []byte(" ")), []byte("\r"), nil)
	for line = b.text(line); len(line) > 0 && (line[0] == '@' || line[0] == ':'); {
		_, line = b.cut(line)
	}
	return line
}

func (b *irc) upgrade(verb string, line []byte) {
	switch {
	case b.has(Bare):
		b.other(verb, nil)
	case b.loggedIn:
		b.say(":backend 462 a :You may not reregister")
	default:
		b.forbid(verb, line)
		b.say(":backend 670 * :Go ahead")
	}
}

func (b *irc) login(verb string) {
	switch {
	case b.has(RefuseLogin):
		b.say(":backend 464 * :Password incorrect")
	case verb == "AUTHENTICATE":
		b.say("AUTHENTICATE +")
	case verb == "OPER":
		b.say(":backend 381 a :You are now an IRC operator")
	}
}

// register welcomes a client that has said both.
func (b *irc) register(said *bool) {
	*said = true
	if b.nick && b.user && !b.loggedIn && !b.has(RefuseLogin) {
		b.loggedIn = true
		b.say(":backend 001 a :Welcome", ":backend 376 a :End of MOTD")
	}
}

// other commands need no looking at.
func (b *irc) other(verb string, args []string) {
	switch {
	case verb == "CAP" && len(args) > 0 && (upper(args[0]) == "LS" || upper(args[0]) == "LIST"):
		b.capabilities(upper(args[0]))
	case verb == "CAP" && len(args) > 1 && upper(args[0]) == "REQ":
		b.say(":backend CAP * ACK " + args[1])
	case verb == "PING" && len(args) > 0:
		b.say(":backend PONG backend " + args[0])
	case verb == "QUIT":
		b.bye("ERROR :Closing Link: bye")
	case verb == "JOIN" && b.loggedIn:
		b.say(":a!a@host JOIN #a", ":backend CAP a NEW :tls sasl")
	case verb == "PRIVMSG" && b.loggedIn:
		b.say(":b!b@host PRIVMSG a :STARTTLS 001 CAP LS :tls")
	case verb == "", verb == "CAP", verb == "PONG":
	default:
		b.say(":backend 421 * " + verb + " :Unknown command")
	}
}

func (b *irc) capabilities(verb string) {
	tls := " tls"
	if b.has(Bare) || b.loggedIn || verb == "LIST" {
		tls = ""
	}
	b.say(":backend CAP * "+verb+" * :multi-prefix away-notify=1"+tls, ":backend CAP * "+verb+" :sasl=PLAIN server-time message-tags")
}
