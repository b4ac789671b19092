package telnet

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A filter joins a client to a server, and keeps START_TLS from both, for as long as the
// session lasts: a server could upgrade at any time. All else passes as it arrives. What
// servers read in different ways, such as a command amid a subnegotiation, ends the session.
type filter struct {
	client, backend side
	spoke           bool // the backend has
}

// A side is how far one direction has been read.
type side struct {
	within  bool // a subnegotiation
	dropped bool // which does not pass
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	if s.Upgraded {
		return nil
	}
	return new(filter)
}

// Start implements dialogue.Filter.
func (*filter) Start(*dialogue.Exchange) {}

// BackendEnded reports a backend that ended without a word.
func (f *filter) BackendEnded(x *dialogue.Exchange) {
	if !f.spoke {
		x.CloseFor(dialogue.ErrBackend)
	}
}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	n, ok := f.client.read(b, x.ToBackend, x.ToClient)
	if !ok {
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	return n
}

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	f.spoke = true
	n, ok := f.backend.read(b, x.ToClient, x.ToBackend)
	if !ok {
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	}
	return n
}

// read passes on what b begins with, up to a command or one command, or answers it. It
// returns how much that is; ok is false for what can be read in two ways.
func (d *side) read(b []byte, pass, answer func([]byte)) (n int, ok bool) {
	at := bytes.IndexByte(b, iac)
	switch {
	case at < 0:
		at = len(b)
		fallthrough
	case at > 0:
		if !d.dropped {
			pass(b[:at])
		}
		return at, true
	case len(b) < 2:
		return 0, true
	case d.within:
		return d.inSubnegotiation(b, pass)
	case b[1] < sb, b[1] == iac:
		pass(b[:2])
		return 2, true
	case len(b) < 3:
		return 0, true
	case b[2] == iac:
		return 0, false
	}
	d.within, d.dropped = b[1] == sb, b[1] == sb && b[2] == startTLS
	if b[2] == startTLS {
		refuse(b[1], answer)
		return 3, true
	}
	pass(b[:3])
	return 3, true
}

// inSubnegotiation reads an IAC in one, which is doubled, or begins its end.
func (d *side) inSubnegotiation(b []byte, pass func([]byte)) (n int, ok bool) {
	if b[1] != iac && b[1] != se {
		return 0, false
	}
	if !d.dropped {
		pass(b[:2])
	}
	if b[1] == se {
		d.within, d.dropped = false, false
	}
	return 2, true
}

// refuse answers what asks for START_TLS. The rest needs no answer.
func refuse(command byte, answer func([]byte)) {
	switch command {
	case do:
		answer([]byte{iac, wont, startTLS})
	case will:
		answer([]byte{iac, dont, startTLS})
	}
}
