package upgrade

import "bytes"

// Line is the generic protocol of applications that are made of lines, and upgrade
// after one of them: Config.Command, answered by Config.Reply if there is one. What
// else they say in clear is their own business, so it is passed on at once.
var Line = &Protocol{
	Name:    "line",
	Request: lineRequest,
	Relay:   newLineRelay,
}

func (c *Config) command() string {
	if c.Command == "" {
		return "STARTTLS"
	}
	return c.Command
}

func lineRequest(s *Session) error {
	config := s.conn.config
	if err := s.Send([]byte(config.command() + "\n")); err != nil {
		return err
	}
	if config.Reply == "" {
		return nil // our ClientHello is next
	}
	line, err := s.ReadLine()
	if err == nil && line != config.Reply {
		err = refusal(ErrRefused, line)
	}
	return err
}

// lineRelay passes everything on but the command. Only the beginning of a line
// that could become the command is kept back.
type lineRelay struct {
	command, reply string
	midLine        bool // the client's present line is not the command
}

func newLineRelay(s *Session) Filter {
	return &lineRelay{command: s.conn.config.command(), reply: s.conn.config.Reply}
}

// Start implements Filter.
func (*lineRelay) Start(*Exchange) {}

// FromClient implements Filter.
func (f *lineRelay) FromClient(x *Exchange, b []byte) int {
	if !f.midLine {
		for _, end := range []string{"\n", "\r\n"} {
			switch matchLiteral(b, []byte(f.command+end)) {
			case NeedMore:
				return 0
			case Matched:
				f.upgrade(x, end)
				return len(f.command + end)
			}
		}
	}
	n := bytes.IndexByte(b, '\n') + 1
	f.midLine = n == 0
	if f.midLine {
		n = len(b)
	}
	x.ToBackend(b[:n])
	return n
}

// upgrade grants the command in its own kind of line, or without a word: then the
// ClientHello may have come with it.
func (f *lineRelay) upgrade(x *Exchange, end string) {
	var reply []byte
	if f.reply != "" {
		reply = []byte(f.reply + end)
	}
	x.Upgrade(reply)
	x.Done()
}

// FromBackend implements Filter.
func (*lineRelay) FromBackend(x *Exchange, b []byte) int {
	x.ToClient(b)
	return len(b)
}
