package lenient

import "bytes"

// ftp is a server of FTP, with TLS and active mode. It takes Telnet's commands out of lines.
type ftp struct {
	session
	user string // that has begun to log in
}

// Greeting implements Backend.
func (b *ftp) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("421 backend refuses\r\n")
	}
	return []byte("220 backend ready\r\n")
}

// Feed implements Backend.
func (b *ftp) Feed(p []byte) []byte { return b.run(p, b.step) }

// withoutTelnet takes out Telnet's commands: those of one octet, and those with an option.
func withoutTelnet(line []byte) []byte {
	var text []byte
	for i := 0; i < len(line); i++ {
		if line[i] != 0xff || i+1 == len(line) {
			text = append(text, line[i])
			continue
		}
		i++
		switch c := line[i]; {
		case c == 0xff:
			text = append(text, c)
		case c >= 0xfb:
			i++
		}
	}
	return text
}

func (b *ftp) step() bool {
	line, ok := b.line()
	if !ok {
		return false
	}
	line = withoutTelnet(line)
	verb, args := b.words(line)
	switch verb {
	case "AUTH", "PBSZ", "PROT", "CCC":
		b.security(verb, line)
	case "ADAT", "MIC", "CONF", "ENC":
		b.forbid(verb, line)
		b.say("234 Ok")
	case "PORT", "EPRT", "LPRT", "CPSV", "SPSV", "LPSV", "REIN":
		b.note(verb, line)
		b.say("200 Ok")
	case "USER", "PASS", "ACCT":
		b.login(verb, args, line)
	case "QUIT":
		b.bye("221 Bye")
	case "FEAT":
		b.features()
	default:
		b.other(verb)
	}
	return true
}

func (b *ftp) security(verb string, line []byte) {
	if b.has(Bare) {
		b.say("502 No TLS")
		return
	}
	b.forbid(verb, line)
	b.say("234 Ok")
}

func (b *ftp) features() {
	b.say("211-Features:")
	if !b.has(Bare) {
		b.say(" AUTH TLS", " PBSZ", " PROT", " CCC")
	}
	b.say(" EPSV", " SIZE", " UTF8", "211 End")
}

// login has passwords, but for users who are nobody.
func (b *ftp) login(verb string, args []string, line []byte) {
	if verb == "USER" {
		b.user = string(bytes.ToLower([]byte(first(args))))
	}
	if b.user != "anonymous" && b.user != "ftp" {
		b.forbidPassword(verb, line)
	}
	switch {
	case verb == "USER":
		b.say("331 Password")
	case b.has(RefuseLogin):
		b.say("530 Login refused")
	default:
		b.loggedIn = true
		b.say("230-Welcome", " to you", "230 Logged in")
	}
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// other commands need no looking at.
func (b *ftp) other(verb string) {
	switch verb {
	case "EPSV":
		b.say("229 Ok (|||2021|)")
	case "PASV":
		b.say("227 Ok (127,0,0,1,7,229)")
	case "SYST":
		b.say("215 UNIX")
	case "HELP":
		b.say("214-Commands", " AUTH PROT", "214 End")
	case "STAT":
		b.say("211-Status", "211 is not the end of this", " AUTH TLS", "211 End")
	case "RETR", "STOR", "LIST":
		b.say("150 Ok", "226 Done")
	case "NOOP", "CWD", "TYPE", "ABOR", "SITE", "OPTS", "HOST":
		b.say("200 Ok")
	default:
		b.say("500 Unknown command")
	}
}
