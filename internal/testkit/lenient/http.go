package lenient

import (
	"bytes"
	"fmt"
)

// http is a server of HTTP/1. It upgrades to TLS, and has what can be done with a password.
type http struct {
	session
	head    [][]byte // the lines of the present head
	body    int      // what is left of the present body
	chunked bool
	raw     bool // it is not HTTP any more
}

// Greeting implements Backend.
func (b *http) Greeting() []byte { return nil }

// Feed implements Backend.
func (b *http) Feed(p []byte) []byte { return b.run(p, b.step) }

func (b *http) step() bool {
	switch {
	case b.raw:
		b.buf = nil
		return false
	case b.body > 0:
		b.body = b.skip(b.body)
		return b.body == 0
	}
	line, ok := b.line()
	if !ok {
		return false
	}
	switch line = bytes.TrimRight(line, "\r"); {
	case b.chunked:
		b.chunk(line)
	case len(line) > 0 && len(b.head) > 0 && (line[0] == ' ' || line[0] == '\t'):
		last := len(b.head) - 1
		b.head[last] = append(b.head[last], line...)
	case len(line) > 0:
		b.head = append(b.head, bytes.Clone(line))
	case len(b.head) > 0:
		b.request()
	}
	return true
}

// chunk reads the size of one. The last has no trailers.
func (b *http) chunk(line []byte) {
	n := 0
	for i, c := range bytes.ToLower(b.text(line)) {
		digit := bytes.IndexByte([]byte("0123456789abcdef"), c)
		if digit < 0 || n > 1<<20 {
			break
		}
		if n = n*16 + digit; n == 0 && i == 0 {
			b.chunked = false
		}
	}
	b.body = n
}

// request answers one with its target.
func (b *http) request() {
	line := b.head[0]
	_, args := b.words(line)
	wanted, named, other := false, false, false
	for _, field := range b.head[1:] {
		name, value, _ := bytes.Cut(field, []byte(":"))
		lower := bytes.ToLower(value)
		switch upper(string(b.text(name))) {
		case "UPGRADE":
			wanted = wanted || bytes.Contains(lower, []byte("tls"))
			other = other || bytes.Contains(lower, []byte("websocket"))
		case "CONNECTION":
			named = named || bytes.Contains(lower, []byte("upgrade"))
		case "AUTHORIZATION", "PROXY-AUTHORIZATION":
			b.forbidPassword("password", field)
		case "CONTENT-LENGTH":
			b.body, _ = number(string(b.text(value)))
		case "TRANSFER-ENCODING":
			b.chunked = bytes.Contains(lower, []byte("chunked"))
		}
	}
	if wanted {
		b.forbid("upgrade", line)
	}
	b.head = nil
	b.raw = other && named || bytes.HasPrefix(line, []byte("CONNECT "))
	b.answer(args)
}

func (b *http) answer(args []string) {
	target := ""
	if len(args) > 0 {
		target = args[0]
	}
	b.say("HTTP/1.1 200 backend", fmt.Sprintf("Content-Length: %d", len(target)+1), "")
	b.out = append(b.out, target+"\n"...)
}
