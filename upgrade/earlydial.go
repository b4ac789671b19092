package upgrade

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// leftToFilter reports whether a client is in plaintext until a filter asks for the upgrade,
// which needs the backend.
func (c *Conn) leftToFilter() bool {
	return c.joined && c.proto.EarlyDial && !c.plain.outcome.ImplicitTLS
}

// leaveToFilter is the role of a server whose filter asks for the upgrade.
func leaveToFilter(*dialogue.Session) error { return dialogue.ErrCleartext }
