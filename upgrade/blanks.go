package upgrade

import (
	"fmt"
	"io"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxBlanks is how many blanks a client may send between its request for the upgrade and its
// ClientHello, where the protocol has Protocol.BlanksBehindRequest.
const maxBlanks = 16

// blanksFor is how many of them a peer may send. A server never may.
func blanksFor(proto *Protocol, client bool) int {
	if client || proto == nil || !proto.BlanksBehindRequest {
		return 0
	}
	return maxBlanks
}

// dropBlanks returns what is behind the blanks that the client may still send, which are
// spaces, tabs, CR and LF.
func (c *Conn) dropBlanks(b []byte) []byte {
	for len(b) > 0 && c.blanks > 0 && isBlank(b[0]) {
		b = b[1:]
		c.blanks--
	}
	return b
}

func isBlank(b byte) bool { return b == ' ' || b == '\t' || b == '\r' || b == '\n' }

// readBehindBlanks reads the first octet behind the go-ahead that is no blank which the
// client may send, and leaves it in front of the connection.
func (c *Conn) readBehindBlanks() (first byte, err error) {
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(&c.raw, b); err != nil {
			return 0, fmt.Errorf("%w: %w", dialogue.ErrHandshake, dialogue.AsNegotiationError(err))
		}
		if len(c.dropBlanks(b)) > 0 {
			c.raw.Unread(b)
			return b[0], nil
		}
	}
}
