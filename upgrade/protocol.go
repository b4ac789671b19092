package upgrade

import (
	"fmt"
	"slices"
	"strings"
)

// A Protocol says how one protocol upgrades to TLS. A nil function is a role
// that the protocol does not have; asking for it is ErrUnsupported.
type Protocol struct {
	// Name is the protocol's name, as `openssl s_client -starttls` has it
	// where it knows the protocol.
	Name string

	// ServerFirst tells that the server speaks first. Such a protocol cannot be
	// recognized by what the client sends.
	ServerFirst bool

	// ALPN lists the ids that belong to the protocol, the registered one first.
	// A client that offers ids but none of these is refused, one that offers
	// none is served (RFC 7301 section 3.2).
	ALPN []string

	// DirectALPN means that a client which begins with a ClientHello must offer one
	// of the ids.
	DirectALPN bool

	// MaxLine bounds a line or message before TLS, in octets. Default: 4096.
	MaxLine int

	// CheckGreeting finds what is wrong with a Config.Greeting, before it is used.
	// Nil where any text will do.
	CheckGreeting func(text string) error

	// Match tells whether prefix, the first bytes that a client sent, begins an
	// upgrade request. It asks for more only while prefix could still become one.
	// Nil for protocols in which nothing is sent unasked.
	Match func(prefix []byte) Verdict

	// Accept plays the server. It returns nil once the client has asked for TLS,
	// with the go-ahead left in the Session and not yet sent; ErrQuit when the
	// client took its leave; or what went wrong.
	Accept func(*Session) error

	// Request plays the client. It returns nil once the server has consented.
	Request func(*Session) error

	// Farewell words the end of a session, for the reasons ErrPipelined,
	// ErrLineTooLong, ErrTooMany, ErrMalformed, ErrPlaintext, ErrTimeout and
	// ErrBackend. ErrBackend comes inside TLS, the others in clear. Nil, or an
	// empty answer, ends the session without a word.
	Farewell func(s *Session, why error) []byte

	// Rejoin makes the filter that joins a client inside TLS to a backend that
	// starts afresh. A client that began with TLS is to have the greeting: see
	// Session.Direct. Nil if there is nothing to reconcile.
	Rejoin func(*Session) Filter

	// Greeting is what a server greets with, %s being its name: it does so in clear
	// alone, and whoever is let in after the upgrade may want a greeting, too. Empty
	// where the server speaks after the upgrade, or the client speaks first.
	Greeting string

	// Inside makes the filter that has a server which we have upgraded to look like
	// one in clear that starts afresh. Nil if it does so by itself.
	Inside func(*Session) Filter

	// Unavailable hears out a client that speaks first, and for which there is no
	// server, until it can be told so. Nil if it need not be heard.
	Unavailable func(s *Session, why error) error

	// Relay makes the filter of a protocol whose plaintext phase cannot be
	// answered without the backend: the stream is passed on at once and upgraded
	// in place. It takes the place of Accept and Rejoin.
	Relay func(*Session) Filter
}

// A Verdict is what Protocol.Match makes of a prefix.
type Verdict int

const (
	// NoMatch is final: no further bytes can make it a request.
	NoMatch Verdict = iota
	// NeedMore means that the bytes are a proper prefix of a request.
	NeedMore
	// Matched means that the bytes begin with a request.
	Matched
)

// protocols is the table of all protocols, sorted by name.
var protocols = []*Protocol{
	IMAP,
	LDAP,
	Line,
	LMTP,
	POP3,
	Postgres,
	Sieve,
	SMTP,
	XMPP,
}

// Protocols returns all protocols, sorted by name.
func Protocols() []*Protocol { return slices.Clone(protocols) }

// Lookup returns the protocol of the given name. The error of an unknown one
// names the choices.
func Lookup(name string) (*Protocol, error) {
	for _, p := range protocols {
		if p.Name == name {
			return p, nil
		}
	}
	names := make([]string, len(protocols))
	for i, p := range protocols {
		names[i] = p.Name
	}
	return nil, fmt.Errorf("unknown protocol %q; must be one of: %s", name, strings.Join(names, ", "))
}

// matchLiteral is the verdict on a prefix that must begin with want.
func matchLiteral(prefix, want []byte) Verdict {
	n := min(len(prefix), len(want))
	switch {
	case string(prefix[:n]) != string(want[:n]):
		return NoMatch
	case n < len(want):
		return NeedMore
	}
	return Matched
}
