package upgrade

import (
	"cmp"
	"crypto/tls"
	"net"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Default timeouts of a Config that sets none.
const (
	DefaultNegotiationTimeout = time.Minute
	DefaultHandshakeTimeout   = 15 * time.Second
	DefaultImplicitTLSDelay   = 200 * time.Millisecond
)

// Limits bound what a peer may say before TLS.
type Limits = dialogue.Limits

// Config says how a connection is upgraded. It must not be changed while it is
// in use; any number of connections may share it. A nil Config is an empty one.
type Config struct {
	// TLS is used for the handshake and never modified. A server needs
	// certificates in it. For a client nil means the system's roots, and the
	// name to verify must come from ServerName here or from Dial's address. If NextProtos
	// is nil, a client offers the first of Protocol.ALPN; if it is empty, nothing. A server
	// that has none there takes no notice of what a client offers; with Protocol.ALPN there it
	// refuses clients that offer other ids alone.
	TLS *tls.Config

	// Hostname is our own name: in a server's greeting, in a client's EHLO.
	// Default: "localhost".
	Hostname string

	// Hostnames are all names of a server, for protocols in which a client says which one it
	// wants: in CONNECT it is refused if it names another one. Default: Hostname alone.
	Hostnames []string

	// Greeting is the text behind the hostname in a server's greeting, for the
	// protocols that have room for it. Default: the protocol's own.
	Greeting string

	// Capabilities are advertised before TLS beside the upgrade itself, in place of the
	// default: PIPELINING, 8BITMIME, ENHANCEDSTATUSCODES and SMTPUTF8 in SMTP and LMTP, ID
	// in IMAP, none in others. A client that stays in plaintext, as Optional allows, goes by
	// them: in SMTP Warn is told how they differ from the backend's.
	Capabilities []string

	// Options are those that the protocol alone has, by name, as in a Caddyfile: see
	// Protocol.Options. Protocol.CheckOptions finds what is wrong with them.
	Options map[string]string

	// Optional lets a client that does not ask for the upgrade stay in plaintext, once
	// it sends what only the backend can answer. Anybody on the way can make a
	// client do that, so this protects nobody from an active attacker.
	//
	// For Request it lets a server that does not offer the upgrade stay in plaintext, where
	// the protocol can go on then. The connection is for ServeUpgraded, which has a client
	// begin a session on it. A server that offers the upgrade and fails at it is refused all
	// the same. Dial takes no notice of it.
	Optional bool

	// PlaintextAuth lets such a client send its password in plaintext, too.
	PlaintextAuth bool

	// ImplicitTLS also accepts a client that begins with a ClientHello. Where the
	// server speaks first its greeting waits ImplicitTLSDelay for one, 200
	// milliseconds by default. Join takes no notice of it if Protocol.TakesImplicitTLS says no.
	ImplicitTLS      bool
	ImplicitTLSDelay time.Duration

	// Passthrough leaves TLS to others, once the upgrade is agreed on: what the connection
	// carries next is a ClientHello, inside Protocol.HandshakePackets if there are any. A server
	// waits HandshakeTimeout for the first octet of it, and ends if it is another. StartTLS
	// does the handshake after all.
	Passthrough bool

	// NegotiationTimeout bounds the whole plaintext phase, and for the server
	// also its wait for a backend's greeting. It is absolute: no byte renews
	// it. Default: one minute.
	NegotiationTimeout time.Duration

	// HandshakeTimeout bounds the TLS handshake. Default: 15 seconds.
	HandshakeTimeout time.Duration

	// Limits bound what the peer may say before TLS. A connection that Join makes of a
	// protocol whose backend is needed early has its own messages, commands and errors:
	// Bytes and Idle alone bound it, and Bytes has no default if Optional is set, for then
	// what the client says is the application's.
	Limits Limits

	// TLSAvailable, if set, is asked by a server before it grants the upgrade. If it returns
	// false, for want of a certificate, the client is told in its protocol's words that TLS
	// is not available for now. It may be called from several goroutines.
	TLSAvailable func() bool

	// AdmitUpgrade, if set, is asked by a server before it grants the upgrade, and before
	// the handshake of a client that began with TLS. If it returns false, the client has
	// had too many upgrades: it is told so in its protocol's words and may go on, or its
	// connection ends where the protocol has no words for that. The error of a connection
	// that ends then is ErrTooManyUpgrades as well. It may be called from several goroutines.
	AdmitUpgrade func(client net.Addr) bool

	// Warn, if set, is told what an administrator should change at a backend,
	// such as a backend that refuses passwords for want of TLS. It may be called
	// from several goroutines, and with the same text for many connections.
	Warn func(message string)
}

// fillOptions fills in what a protocol's roles and filters know of the configuration.
func (c *Config) fillOptions(o *dialogue.Options, proto *Protocol) {
	*o = dialogue.Options{
		Hostname:      cmp.Or(c.Hostname, "localhost"),
		Hostnames:     c.Hostnames,
		Greeting:      c.Greeting,
		Capabilities:  c.Capabilities,
		Optional:      c.Optional,
		PlaintextAuth: c.PlaintextAuth,
		Own:           c.Options,
		TLSAvailable:  c.TLSAvailable,
		Declared:      proto.Options,
		Limits:        c.Limits,
	}
	if c.TLS != nil {
		o.PeerName = c.TLS.ServerName
	}
}

func (c *Config) negotiationTimeout() time.Duration {
	if c.NegotiationTimeout <= 0 {
		return DefaultNegotiationTimeout
	}
	return c.NegotiationTimeout
}

func (c *Config) handshakeTimeout() time.Duration {
	if c.HandshakeTimeout <= 0 {
		return DefaultHandshakeTimeout
	}
	return c.HandshakeTimeout
}

func (c *Config) implicitTLSDelay() time.Duration {
	if c.ImplicitTLSDelay <= 0 {
		return DefaultImplicitTLSDelay
	}
	return c.ImplicitTLSDelay
}

func (c *Config) warn(message string) {
	if c.Warn != nil {
		c.Warn(message)
	}
}
