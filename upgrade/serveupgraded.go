package upgrade

import (
	"cmp"
	"context"
	"net"
	"strings"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// ServeUpgraded joins a client that expects a server in plaintext which starts afresh with
// one that we have upgraded to, by Request or Dial. The client is greeted in words of our
// own, since what the server said in plaintext is not to be relied on. What the protocol has
// kept of it reaches the filter. Whoever made down closes it; up is the caller's, too.
//
// If up was made by RequestFor, down is the client that it was made for.
//
// If up stays in plaintext, as Config.Optional lets it, the client is joined to it as it is,
// and hears what it greets with: there is nothing that could be relied on more.
func ServeUpgraded(down net.Conn, up *Conn) *Joined {
	c, client := serving(down, up.proto, up.config), dialogue.Unheard
	if w := up.forClient; w != nil {
		if c = w.conn; w.session.Spoken() {
			client = dialogue.Greeted
		}
	}
	if up.Outcome().Cleartext {
		return linked(down, up, join(c, dialogue.Situation{Backend: dialogue.Introduced, Cleartext: true, PlaintextAuth: true, Kept: up.plain.kept}))
	}
	_, _ = c.Write(c.greeting()) // a client that is gone is noticed by the next Read
	backend := dialogue.Unheard
	if up.proto.Greeting != "" {
		backend = dialogue.Greeted
	}
	return linked(down, up, join(c, dialogue.Situation{Client: client, Backend: backend, Upgraded: true, Kept: up.plain.kept}))
}

// linked has the further connections of the session go to the backend as its control
// connection does, and take those of a session below it in this process.
func linked(down net.Conn, up *Conn, j *Joined) *Joined {
	if j.data != nil {
		j.data.up = up
		serviceBelow(down).link(j.data)
	}
	return j
}

// RejectClient tells a client in plaintext that there is no server for it, which ServeUpgraded
// would have joined it with: in the words of its protocol and with the kind of failure that why is, but
// nothing that the server said. It ends our half of down and gives the client two seconds to read,
// but does not close it.
//
// If why is ErrShutdown, the client is told that it is we who end. With ErrTooManyConnections a
// server refuses a client in place of Accept, for having too many: it is told so in place of the
// greeting, or in answer to its first request if that comes within two seconds. One that began with
// TLS, as Config.ImplicitTLS allows, is told nothing.
func RejectClient(down net.Conn, proto *Protocol, config *Config, why error) {
	waiting(down, proto, config).reject(why)
}

// serving makes the server's side of a connection that stays as it is. It goes by
// the name of the server, not by the one that we have as its client.
func serving(down net.Conn, proto *Protocol, config *Config) *Conn {
	c := newConn(down, proto, config, false)
	c.negotiated.Store(true)
	named := *c.config
	named.Hostname = c.upgradedName()
	named.Limits = Limits{} // which are those of the server that was upgraded to
	c.config = &named
	return c
}

// upgradedName is the name of the server that has been upgraded to, or ours if it has none.
func (c *Conn) upgradedName() string {
	o := c.options()
	return cmp.Or(o.PeerName, o.Hostname)
}

// greeting is one in the name of the server.
func (c *Conn) greeting() []byte {
	if c.proto == nil || c.proto.Greeting == "" {
		return nil
	}
	name := c.options().Hostname
	if c.client {
		name = c.upgradedName()
	}
	return []byte(strings.ReplaceAll(c.proto.Greeting, "%s", name))
}

// Greet is for software that insists on a greeting, in the protocols that have one in
// plaintext alone: SMTP, LMTP, IMAP, POP3 and their kind. For a client, such as
// net/smtp over a connection that has been upgraded, it puts one in front of what is read
// next: what the server said in plaintext is not to be relied on. For a server it greets a
// client that began with TLS, if Config.ImplicitTLS let it, and so has had no greeting.
// Where nobody waits for a greeting it does nothing. A connection that has a protocol is
// negotiated first.
func (c *Conn) Greet() error {
	if err := c.Negotiate(context.Background()); err != nil {
		return err
	}
	switch {
	case c.tls.Load() == nil:
		return nil
	case c.client:
		c.readMu.Lock()
		defer c.readMu.Unlock()
		c.line = append(c.greeting(), c.line...)
		return nil
	case !c.plain.outcome.ImplicitTLS:
		return nil
	}
	_, err := c.Write(c.greeting())
	return err
}
