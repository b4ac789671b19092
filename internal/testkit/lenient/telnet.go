package lenient

import "bytes"

// telnet is a server of Telnet that prints what it hears. It upgrades at any time, if the
// client offers it, and reads a command amid a subnegotiation as BSD's server does.
type telnet struct {
	session
	within bool // a subnegotiation
	line   []byte
}

// Commands, and the option.
const (
	telnetSE   = 240
	telnetSB   = 250
	telnetWill = 251
	telnetDo   = 253
	telnetDont = 254
	telnetIAC  = 255

	telnetStartTLS = 46
)

// Greeting implements Backend.
func (*telnet) Greeting() []byte { return []byte("backend login: ") }

// Feed implements Backend.
func (b *telnet) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *telnet) step() bool {
	switch {
	case len(b.buf) == 0:
		return false
	case b.buf[0] != telnetIAC:
		b.text(b.buf[0])
		b.buf = b.buf[1:]
		return true
	case len(b.buf) < 2:
		return false
	case b.buf[1] >= telnetSB && b.buf[1] <= telnetDont:
		if len(b.buf) < 3 {
			return false
		}
		b.command(b.buf[:3])
		b.buf = b.buf[3:]
		return true
	case b.buf[1] == telnetSE:
		b.within = false
	case b.buf[1] == telnetIAC:
		b.text(telnetIAC)
	}
	b.buf = b.buf[2:]
	return true
}

func (b *telnet) command(c []byte) {
	b.within = c[1] == telnetSB
	if c[2] == telnetStartTLS && (b.within || c[1] == telnetWill || c[1] == telnetDo) {
		b.forbid("START_TLS", c)
	}
	if c[1] == telnetDo && c[2] != telnetStartTLS {
		b.out = append(b.out, telnetIAC, telnetWill, c[2])
	}
}

// text prints a line when it is complete.
func (b *telnet) text(c byte) {
	if b.within {
		return
	}
	b.line = append(b.line, c)
	if c == '\n' || len(b.line) == maxLine {
		b.out = append(b.out, bytes.ReplaceAll(b.line, []byte{telnetIAC}, []byte{telnetIAC, telnetIAC})...)
		b.line = nil
	}
}
