package upgrade

import (
	"context"
	"sync"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A negotiation is what a plaintext phase needs while it lasts. It serves the next one
// afterwards, with its buffers.
type negotiation struct {
	session dialogue.Session
	options dialogue.Options
	in      plainReader
}

var negotiations = sync.Pool{New: func() any { return new(negotiation) }}

// beginNegotiation has end called when the phase is over: what is kept of the session is a copy.
func (c *Conn) beginNegotiation(ctx context.Context) *negotiation {
	n := negotiations.Get().(*negotiation)
	n.in = plainReader{Conn: &c.raw, ctx: ctx, idle: c.config.Limits.Idle}
	c.fillOptions(&n.options)
	n.session.Begin(c.proto, &n.options, &n.in, &c.raw, c.client)
	return n
}

// end keeps nothing of the session, which may have had a password in it.
func (n *negotiation) end() {
	n.session.End()
	n.options, n.in = dialogue.Options{}, plainReader{}
	negotiations.Put(n)
}
