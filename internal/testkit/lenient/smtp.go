package lenient

import (
	"strconv"
	"strings"
)

// smtp is a server of SMTP, or of LMTP. It grants XCLIENT, XFORWARD and, in LMTP,
// XRCPTFORWARD, and upgrades at any time.
type smtp struct {
	session
	lmtp bool

	introduced bool // or an introduction has been refused
	rcpts      int

	message bool // octets are those of a message
	dot     int  // how much of its end has been seen
	chunk   int  // octets of BDAT still to come
	last    bool // it is the last chunk

	rounds int // lines of a login still to come
}

// Greeting implements Backend.
func (b *smtp) Greeting() []byte {
	if b.has(RefuseGreeting) {
		return []byte("554 5.7.1 backend refuses\r\n")
	}
	return []byte("220 backend ESMTP\r\n")
}

// Feed implements Backend.
func (b *smtp) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *smtp) step() bool {
	switch {
	case b.message:
		return b.readMessage()
	case b.chunk > 0:
		if b.chunk = b.skip(b.chunk); b.chunk == 0 {
			b.chunkRead()
		}
		return b.chunk == 0
	}
	line, ok := b.line()
	if !ok {
		return false
	}
	if b.rounds > 0 {
		b.answer(line)
		return true
	}
	b.command(line)
	return true
}

var smtpCommands = map[string]func(*smtp, []string){
	"EHLO": (*smtp).hello,
	"LHLO": (*smtp).hello,
	"HELO": func(b *smtp, _ []string) { b.introduced = true; b.say("250 backend") },
	"MAIL": func(b *smtp, _ []string) { b.rcpts = 0; b.say("250 2.1.0 Ok") },
	"RCPT": func(b *smtp, _ []string) { b.rcpts++; b.say("250 2.1.5 Ok") },
	"RSET": func(b *smtp, _ []string) { b.rcpts = 0; b.say("250 2.0.0 Ok") },
	"NOOP": func(b *smtp, _ []string) { b.say("250 2.0.0 Ok") },
	"VRFY": func(b *smtp, _ []string) { b.say("252 2.0.0 Ok") },
	"HELP": func(b *smtp, _ []string) { b.say("214 2.0.0 Help") },
	"QUIT": func(b *smtp, _ []string) { b.bye("221 2.0.0 Bye") },
	"DATA": (*smtp).data,
	"BDAT": (*smtp).bdat,
	"AUTH": (*smtp).auth,
}

func (b *smtp) command(line []byte) {
	verb, args := b.words(line)
	switch verb {
	case "STARTTLS", "XCLIENT", "XFORWARD", "XRCPTFORWARD":
		if verb == "XRCPTFORWARD" && !b.lmtp {
			break
		}
		b.forbid(verb, line)
		b.say("220 2.0.0 Ready")
		return
	case "AUTH":
		b.forbidPassword(verb, line)
	}
	if do, ok := smtpCommands[verb]; ok {
		do(b, args)
		return
	}
	b.say("500 5.5.2 Command not recognized")
}

func (b *smtp) hello([]string) {
	if b.has(RefuseHello) && !b.introduced {
		b.introduced = true
		b.say("450 4.7.1 Not now")
		return
	}
	b.introduced, b.rcpts = true, 0
	b.say("250-backend", "250-PIPELINING", "250-8BITMIME")
	if !b.has(Bare) {
		b.say("250-STARTTLS", "250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN", "250-XFORWARD NAME ADDR")
		if b.lmtp {
			b.say("250-XRCPTFORWARD")
		}
	}
	if b.has(Chunking) {
		b.say("250-CHUNKING")
	}
	b.say("250-AUTH PLAIN LOGIN", "250-AUTH=PLAIN LOGIN", "250 SIZE")
}

func (b *smtp) data([]string) {
	if b.has(RefuseData) {
		b.say("554 5.5.1 No valid recipients")
		return
	}
	b.message, b.dot = true, dotLine
	b.say("354 End data with <CR><LF>.<CR><LF>")
}

// How much of a message's end has been seen.
const (
	dotText = iota
	dotCR   // for StrictDots
	dotLine // a line begins
	dotDot  // the line is a dot so far
	dotDotCR
	dotEnd
)

// readMessage reads message text up to its end.
func (b *smtp) readMessage() bool {
	for i, c := range b.buf {
		switch {
		case c == 0 && b.has(SkipNUL):
		case b.has(StrictDots):
			b.dot = strictDot(b.dot, c)
		default:
			b.dot = looseDot(b.dot, c)
		}
		if b.dot == dotEnd {
			b.buf, b.message, b.afterCR = b.buf[i+1:], false, c == '\r'
			b.delivered()
			return true
		}
	}
	b.buf = nil
	return false
}

// looseDot takes CR, LF and any number of them for the end of a line.
func looseDot(state int, c byte) int {
	switch end := c == '\r' || c == '\n'; {
	case end && state == dotDot:
		return dotEnd
	case end:
		return dotLine
	case c == '.' && state == dotLine:
		return dotDot
	}
	return dotText
}

// strictDot knows CRLF alone.
func strictDot(state int, c byte) int {
	switch {
	case c == '\r' && state == dotDot:
		return dotDotCR
	case c == '\r':
		return dotCR
	case c == '\n' && state == dotDotCR:
		return dotEnd
	case c == '\n' && state == dotCR:
		return dotLine
	case c == '.' && state == dotLine:
		return dotDot
	}
	return dotText
}

// delivered answers a message: in LMTP, once for each recipient.
func (b *smtp) delivered() {
	replies := 1
	if b.lmtp {
		replies = min(max(b.rcpts, 1), 1000)
	}
	for range replies {
		b.say("250 2.0.0 Delivered")
	}
	b.rcpts = 0
}

func (b *smtp) bdat(args []string) {
	if !b.has(Chunking) {
		b.say("500 5.5.2 Command not recognized")
		return
	}
	n, ok := 0, false
	if len(args) > 0 {
		n, ok = b.chunkSize(args[0])
	}
	if !ok {
		b.say("501 5.5.4 Syntax error")
		return
	}
	b.chunk, b.last = n, len(args) > 1 && upper(args[1]) == "LAST"
	if n == 0 {
		b.chunkRead()
	}
}

// chunkSize reads a size. As sscanf reads it, what follows the digits does not
// matter, there may be a sign, and it counts modulo 2^32.
func (b *smtp) chunkSize(text string) (int, bool) {
	if !b.has(ScanfSizes) {
		return number(text)
	}
	unsigned := strings.TrimLeft(text, "+-")
	digits := unsigned[:len(unsigned)-len(strings.TrimLeft(unsigned, "0123456789"))]
	n, _ := strconv.ParseUint(digits, 10, 64)
	if strings.HasPrefix(text, "-") {
		n = -n
	}
	return int(uint32(n)), digits != "" && len(text)-len(unsigned) < 2 // the conversion is the quirk
}

func (b *smtp) chunkRead() {
	if b.last {
		b.delivered()
		return
	}
	b.say("250 2.0.0 Chunk taken")
}

func (b *smtp) auth(args []string) {
	mechanism := ""
	if len(args) > 0 {
		mechanism = upper(args[0])
	}
	switch {
	case mechanism == "LOGIN":
		b.rounds = 2
	case mechanism == "PLAIN" && len(args) == 1:
		b.rounds = 1
	case mechanism == "PLAIN":
		b.login()
		return
	default:
		b.say("504 5.5.4 Mechanism not known")
		return
	}
	b.say("334 ")
}

// answer takes a line of a login.
func (b *smtp) answer(line []byte) {
	b.rounds--
	switch {
	case string(b.text(line)) == "*":
		b.rounds = 0
		b.say("501 5.7.0 Cancelled")
	case b.rounds > 0:
		b.say("334 ")
	default:
		b.login()
	}
}

func (b *smtp) login() {
	if b.has(RefuseLogin) {
		b.say("535 5.7.8 Login refused")
		return
	}
	b.say("235 2.7.0 Logged in")
}
