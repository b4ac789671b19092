package upgrade

import (
	"errors"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// refuse says to a client why its session ends, in its protocol's words, unless TLS is
// what it waits for.
func (c *Conn) refuse(s *dialogue.Session, why error) {
	direct := c.plain.outcome.ImplicitTLS // no words, but no reset either where TLS has not begun
	if c.client || peerIsGone(why) || cancelled(why) || errors.Is(why, ErrNotTLS) || errors.Is(why, dialogue.ErrHandshake) ||
		direct && !errors.Is(why, ErrTooManyUpgrades) {
		return
	}
	var words []byte
	if !direct && !errors.Is(why, ErrQuit) && c.proto.ErrorReply != nil {
		words = c.proto.ErrorReply(s, why)
	}
	c.sayLast(words)
}

// sayLast sends last words, and waits a little for the peer to read them: closing at once
// would reset the connection and take the words away again if the peer has sent more than
// we have read.
func (c *Conn) sayLast(words []byte) {
	_ = c.raw.SetDeadline(time.Now().Add(drainTimeout))
	if len(words) > 0 {
		if _, err := c.raw.Write(words); err != nil {
			return
		}
	}
	c.drain()
}

// drain ends our half and discards what the peer still sends, for a bounded
// time and number of reads. It has little room for that: a flood of clients that are refused
// is met here.
func (c *Conn) drain() {
	if c.raw.CloseWrite() != nil {
		return
	}
	scratch := make([]byte, 1<<10)
	for range 1 << 10 {
		if _, err := c.raw.Read(scratch); err != nil {
			return
		}
	}
}
