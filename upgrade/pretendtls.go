package upgrade

import (
	"context"
	"io"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// PretendTLS has an upgrade be one without TLS: in place of a handshake the client sends the
// octet 0x16. It is for tests of protocols, and to be called before anything is read.
func (j *Joined) PretendTLS() { j.pretends = true }

// beginTLS does the handshake, behind what has been read of the client already.
func (j *Joined) beginTLS(behind, goAhead []byte) error {
	if j.pretends {
		return j.conn.pretendTLS(behind, goAhead)
	}
	ctx := j.values
	j.values = context.Background() // what is in them is not for the whole session
	return j.conn.startTLS(ctx, new(interruption), behind, goAhead)
}

// pretendTLS is startTLS for tests of filters: of the handshake there is but the first
// octet.
func (c *Conn) pretendTLS(read, goAhead []byte) error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.raw.Unread(read)
	early, err := c.boundary(goAhead)
	c.raw.Unread(early)
	first := make([]byte, 1)
	if err == nil {
		_ = c.raw.SetDeadline(time.Now().Add(c.config.handshakeTimeout()))
		_, err = io.ReadFull(&c.raw, first)
	}
	if err == nil && first[0] != dialogue.RecordTypeHandshake {
		err = ErrNotTLS
	}
	if err != nil {
		c.spoil(err)
		return c.Err()
	}
	return c.raw.SetDeadline(time.Time{})
}
