package dialogue

// A Protocol says how one protocol upgrades to TLS. A nil function is a role
// that the protocol does not have; asking for it is ErrUnsupported.
type Protocol struct {
	// Name is the protocol's name, as `openssl s_client -starttls` has it
	// where it knows the protocol.
	Name string

	// Aliases are other names that people know it by. They are not accepted, but lead to
	// the right one.
	Aliases []string

	// Port is the one that a client tries if it is told none. 0: there is no such port.
	Port uint16

	// ImplicitPort is the one at which TLS begins with the first byte. 0: there is no such port.
	ImplicitPort uint16

	// Facts are for the documentation.
	Facts Facts

	// ServerFirst reports that the server speaks first. Such a protocol cannot be
	// recognized by what the client sends.
	ServerFirst bool

	// EarlyDial reports that the backend is needed before the upgrade: what is said in
	// plaintext is the backend's to say. Such a connection is joined to the backend at
	// once, and the filter that Join makes asks for the upgrade.
	EarlyDial bool

	// HearsClient reports that Request asks for the upgrade in words of the client for whom
	// it does: see Session.Client. Nobody else can use such an upgrade.
	HearsClient bool

	// PlaintextByDefault reports that clients may stay in plaintext unless a configuration
	// forbids it, since what is said there belongs to the application.
	PlaintextByDefault bool

	// AlwaysTLS reports that no client can stay in plaintext, whatever Options.Optional says.
	AlwaysTLS bool

	// ALPN lists the ids that belong to the protocol, the registered one first.
	// A client that offers ids but none of these is refused, one that offers
	// none is served (RFC 7301 section 3.2). As a client we offer the first one alone: a
	// server may know that one only, and Exim refuses clients that offer more than one.
	ALPN []string

	// DirectALPN reports that a client which begins with a ClientHello must offer one
	// of the ids. Only with it can a client begin so where the backend is needed early.
	DirectALPN bool

	// HandshakePackets are what the handshake of an upgrade travels in. ALPN is for clients
	// that begin with a ClientHello then: no id is offered in such a handshake. Nil where the
	// records of TLS follow the go-ahead by themselves.
	HandshakePackets *HandshakePackets

	// BlanksBehindRequest reports that a client may send up to 16 blanks (space, tab, CR, LF)
	// between its request for the upgrade and its ClientHello. They are dropped, and all else
	// there is still a violation.
	BlanksBehindRequest bool

	// DataConnections reports that a session of the protocol has further connections, which
	// its filter asks for with Exchange.OfferData. Such a protocol has DataOptions.
	DataConnections bool

	// DataALPN lists the ids that belong to those, beside ALPN.
	DataALPN []string

	// MaxLine bounds a line or message before TLS, in octets, unless Limits.Message does.
	// Default: 4096.
	MaxLine int

	// Options are those of a configuration that this protocol alone has.
	Options []Option

	// CheckGreeting finds what is wrong with a configured greeting, before it is used.
	// Nil where any text will do.
	CheckGreeting func(text string) error

	// CheckCapability finds what is wrong with a configured capability, which is announced
	// before TLS. A way to log in is ErrOffersLogin. Nil for a protocol that announces none.
	CheckCapability func(capability string) error

	// Introduces reports that a client of the protocol tells its own name.
	Introduces bool

	// Match decides whether prefix, the first bytes that a client sent, begins an
	// upgrade request. It asks for more only while prefix could still become one.
	// Nil for protocols in which nothing is sent unasked.
	Match func(prefix []byte) Verdict

	// Accept plays the server. It returns nil once the client has asked for TLS,
	// with the go-ahead left in the Session and not yet sent; ErrQuit when the
	// client took its leave; or what went wrong.
	Accept func(*Session) error

	// Request plays the client. It returns nil once the server has consented.
	Request func(*Session) error

	// Tunnel reports that the protocol ends with the upgrade: what is inside TLS is another
	// one, which we do not know. We have no words there.
	Tunnel bool

	// Settle plays what is left for a client to do inside TLS before the connection is as if
	// the server had never been asked, such as to hear its answer to a request that was made
	// in plaintext. It has the time of the handshake. Nil if there is nothing.
	Settle func(*Session) error

	// Inquire plays a client that asks, inside TLS and before it logs in, what the server can
	// do, and returns the answer, a capability to an item. greeted reports that the server has
	// spoken before TLS; one for which TLS began with the first byte speaks now, where
	// servers speak first. Nil where there is nothing to ask without a login.
	Inquire func(s *Session, greeted bool) (capabilities []string, err error)

	// Quit is what a client says that leaves before it has logged in, in plaintext or inside
	// TLS. Empty where it just ends the connection.
	Quit string

	// AnsweredInside reports that what a client asks for the upgrade with may be a request of
	// its own, which is answered inside TLS. What Accept keeps of it with Session.Keep is read
	// first by whoever reads from the connection then, as if it had come there, and is not for
	// the filter that Join makes. See Session.AnswerInside for what needs nobody to answer.
	AnsweredInside bool

	// Resume brings a server that Request has found not to offer the upgrade (ErrNotOffered)
	// back to where a session begins, on the same connection, so that a client in plaintext
	// can be joined to it: see Config.Optional. What the server has greeted with is heard
	// again; what it has answered is not, unless Resume keeps it for the filter. Nil if the
	// protocol cannot do that, or has no way to say that the upgrade is not offered.
	Resume func(*Session) error

	// ErrorReply words the end of a session, for the reasons ErrPipelined,
	// ErrLineTooLong, ErrTooMany, ErrMalformed, ErrPlaintext, ErrTimeout,
	// ErrShutdown, ErrTooManyConnections and ErrBackend. ErrBackend comes inside TLS,
	// ErrShutdown before it, ErrTooManyConnections in place of the greeting, the others may
	// come in either phase. Nil, or an empty answer, ends the session without a word.
	ErrorReply func(s *Session, why error) []byte

	// Join makes the filter that joins a client to a backend. Nil, or a nil filter, if
	// there is nothing to reconcile and nothing to keep from either side.
	Join func(Situation) Filter

	// Greeting is what a server greets with, to the octet, %s being its name: it does so in
	// plaintext alone, and whoever is let in after the upgrade may want a greeting, too. Empty
	// where the server speaks after the upgrade, or the client speaks first.
	Greeting string

	// Reject hears out a client that speaks first, and for which there is no server,
	// until it can be told so. Nil if it need not be heard.
	Reject func(s *Session, why error) error
}

// TakesImplicitTLS reports whether a client may begin with TLS in place of the upgrade. Where the backend is
// needed early, only the ALPN id tells such a client from one that the backend is to be asked for.
func (p *Protocol) TakesImplicitTLS() bool { return !p.EarlyDial || p.DirectALPN }

// Facts are what the documentation's table of protocols says of one.
type Facts struct {
	Ports    string // where it is spoken, the upgraded ports first
	Upgrade  string // what asks for the upgrade
	Document string // and where that is written
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

// MatchLiteral is the verdict on a prefix that must begin with want.
func MatchLiteral(prefix, want []byte) Verdict {
	n := min(len(prefix), len(want))
	switch {
	case string(prefix[:n]) != string(want[:n]):
		return NoMatch
	case n < len(want):
		return NeedMore
	}
	return Matched
}
