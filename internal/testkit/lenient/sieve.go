package lenient

// sieve is a server of ManageSieve. It upgrades, and grants XCLIENT, until the
// client has logged in.
type sieve struct {
	session
	literalReader
	command

	dialogue bool // the next string is an answer in a login
}

func newSieve(s session) Backend {
	s.quirks &^= NoLiteralPlus
	return &sieve{session: s}
}

// sieveLiterals says which commands are known before a login, and which of them
// have strings in their grammar.
var sieveLiterals = map[string]bool{
	"CAPABILITY": false, "NOOP": true, "LOGOUT": false, "STARTTLS": false, "AUTHENTICATE": true, "XCLIENT": true,
}

// Greeting implements Backend.
func (b *sieve) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("BYE \"backend refuses\"\r\n")
	}
	b.capabilities("OK \"backend ready\"")
	greeting := b.out
	b.out = nil
	return greeting
}

func (b *sieve) capabilities(ok string) {
	b.say(`"IMPLEMENTATION" "backend"`, `"SIEVE" "fileinto"`, `"SASL" "PLAIN"`)
	if !b.has(Bare) && !b.loggedIn {
		b.say(`"STARTTLS"`, `"XCLIENT" "ADDR PORT"`)
	}
	b.say(`"VERSION" "1.0"`, ok)
}

// Feed implements Backend.
func (b *sieve) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *sieve) step() bool {
	if b.octets > 0 {
		return b.read(&b.session, &b.command)
	}
	line, ok := b.line()
	switch {
	case !ok:
		return false
	case b.open:
		b.open = false
		b.rest(line, line)
	case b.dialogue:
		b.command = command{verb: "AUTHENTICATE"}
		b.rest(line, line)
	default:
		b.begin(line)
	}
	return true
}

// begin reads the first line of a command.
func (b *sieve) begin(line []byte) {
	verb, rest := b.cut(b.text(line))
	b.command = command{verb: upper(verb)}
	strings, known := sieveLiterals[b.verb]
	switch {
	case b.loggedIn:
	case b.verb == "STARTTLS" || b.verb == "XCLIENT":
		b.forbid(b.verb, line)
	case !known, b.has(FewLiterals) && !strings && hasLiteral(rest):
		b.bad = true
	}
	if b.verb == "AUTHENTICATE" {
		b.forbidPassword(b.verb, line)
	}
	b.rest(line, rest)
}

// rest reads the arguments on a line, and runs the command unless it goes on behind
// a literal. Only {n+} is one, but for a server that takes anything.
func (b *sieve) rest(line, rest []byte) {
	word := ""
	if !b.bad {
		word = b.arguments(&b.command, rest)
	}
	syncToo := b.has(GreedyLiterals)
	if word != "" && b.expect(&b.session, &b.command, word, syncToo, "") {
		return
	}
	b.bad = b.bad || word != ""
	if greedy := b.greedy(line); b.bad && greedy != "" && b.expect(&b.session, &b.command, greedy, syncToo, "") {
		return
	}
	b.execute()
}

func (b *sieve) execute() {
	answer := b.dialogue
	b.dialogue = false
	switch {
	case b.bad:
		b.say(`NO "Syntax error"`)
	case answer:
		b.login(len(b.args) == 1 && b.args[0] != "*")
	case b.verb == "CAPABILITY":
		b.capabilities(`OK "Done"`)
	case b.verb == "LOGOUT":
		b.bye(`OK "Bye"`)
	case b.verb == "AUTHENTICATE" && !b.loggedIn:
		if b.dialogue = len(b.args) == 1; b.dialogue {
			b.say(`""`)
			return
		}
		b.login(len(b.args) == 2)
	default:
		b.say(`OK "Done"`)
	}
}

func (b *sieve) login(ok bool) {
	if !ok || b.has(RefuseLogin) {
		b.say(`NO "Login refused"`)
		return
	}
	b.loggedIn = true
	b.say(`OK "Logged in"`)
}
