package probe

import (
	"bytes"
	"encoding/hex"
	"net"
	"strings"
	"unicode/utf8"
)

// A Utterance is what one side says in plaintext without waiting for the other: as
// text, or in hexadecimal.
type Utterance struct {
	// From is client or server.
	From string `json:"from"`
	// Text is what was said, in protocols of text.
	Text string `json:"text,omitempty"`
	// Hex is the same in hexadecimal, where it is not text.
	Hex string `json:"hex,omitempty"`
}

// An eavesdropper keeps what passes through a connection, until it is stopped. How
// much that may be is bounded by the limits of the plaintext phase.
type eavesdropper struct {
	net.Conn
	said    []said
	secrets []string // which are not shown
	stopped bool
	heard   bool // the server has said something, be it in TLS
}

type said struct {
	client bool
	bytes  []byte
}

func (e *eavesdropper) Read(p []byte) (int, error) {
	n, err := e.Conn.Read(p)
	e.heard = e.heard || n > 0
	e.keep(false, p[:n])
	return n, err
}

func (e *eavesdropper) Write(p []byte) (int, error) {
	n, err := e.Conn.Write(p)
	e.keep(true, p[:n])
	return n, err
}

func (e *eavesdropper) keep(client bool, p []byte) {
	last := len(e.said) - 1
	switch {
	case e.stopped || len(p) == 0:
	case last >= 0 && e.said[last].client == client:
		e.said[last].bytes = append(e.said[last].bytes, p...)
	default:
		e.said = append(e.said, said{client, bytes.Clone(p)})
	}
}

// stop returns what has been said. The client's words are our own, so they show
// whether the protocol is one of text.
func (e *eavesdropper) stop() (dialogue []Utterance) {
	e.stopped = true
	binary := false
	for _, s := range e.said {
		binary = binary || s.client && bytes.ContainsFunc(s.bytes, isBinary)
	}
	for _, s := range e.said {
		u := Utterance{From: "server"}
		if s.client {
			u.From = "client"
		}
		if binary || !utf8.Valid(s.bytes) || bytes.IndexByte(s.bytes, 0) >= 0 {
			u.Hex = hex.EncodeToString(s.bytes)
		} else {
			u.Text = e.conceal(string(s.bytes))
		}
		dialogue = append(dialogue, u)
	}
	return dialogue
}

// conceal takes secrets out of what has been said. The peer may have said them, too.
func (e *eavesdropper) conceal(text string) string {
	for _, secret := range e.secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "***")
		}
	}
	return text
}

func isBinary(r rune) bool { return r < ' ' && !strings.ContainsRune("\r\n\t", r) }

// lines are for people, as RFCs print them.
func (u *Utterance) lines() (lines []string) {
	who := "S"
	if u.From == "client" {
		who = "C"
	}
	for line := range strings.Lines(u.Text) {
		lines = append(lines, who+": "+escape(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")))
	}
	const digits = 2 * 24 // to a line
	for rest := u.Hex; rest != ""; {
		n := min(len(rest), digits)
		lines = append(lines, who+"#"+spaced(rest[:n]))
		rest = rest[n:]
	}
	return lines
}

// spaced puts a space before each octet.
func spaced(hexadecimal string) string {
	var b strings.Builder
	for i := 0; i+1 < len(hexadecimal); i += 2 {
		b.WriteString(" " + hexadecimal[i:i+2])
	}
	return b.String()
}
