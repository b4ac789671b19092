package upgrade

import "github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"

// A host is a Joined as its Exchange sees it.
type host Joined

// LastWords implements dialogue.Host.
func (h *host) LastWords(why error) []byte {
	c := h.conn
	rawTLS := c.config.Passthrough && !c.Outcome().Cleartext // in which plaintext has no place any more
	if c.proto.ErrorReply == nil || c.proto.Tunnel || rawTLS {
		return nil
	}
	return c.proto.ErrorReply(dialogue.NewSession(c.proto, c.options(), nil, nil, false), why)
}

// Warn implements dialogue.Host.
func (h *host) Warn(message string) { h.conn.config.warn(message) }
