package irc

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// An inside filter joins a client to a server that we have upgraded. There are servers that
// announce tls in TLS, too, and refuse what a client makes of it. What the server has said
// unasked in plaintext comes first. Whatever cannot be a list of capabilities passes as it
// arrives.
type inside struct {
	filter
	passing bool // amid such a line
}

func newInside(s dialogue.Situation) *inside {
	return &inside{filter: filter{hostname: s.Options.Hostname, notices: s.Kept, spoke: true}}
}

// FromClient implements dialogue.Filter.
func (f *inside) FromClient(x *dialogue.Exchange, b []byte) int {
	x.ToBackend(b)
	return len(b)
}

// FromBackend implements dialogue.Filter.
func (f *inside) FromBackend(x *dialogue.Exchange, b []byte) int {
	if !f.passing && (b[0] == ':' || b[0] == '@') {
		return f.filter.FromBackend(x, b)
	}
	size := bytes.IndexByte(b, '\n') + 1
	f.passing = size == 0
	if f.passing {
		size = len(b)
	}
	x.ToClient(b[:size])
	return size
}
