package dialogue

// A Phase is how far one side of a session has come before it is joined to the other.
type Phase int

const (
	// Unheard is a client that has had no greeting, or a backend that has sent none.
	Unheard Phase = iota
	// Greeted is a side for which the greeting is over.
	Greeted
	// Introduced is a client that has also told its name, as in EHLO, or a backend that was
	// asked for the upgrade, does not offer it, and is where a session begins again: see
	// Protocol.Resume. If it greets, the client hears that.
	Introduced
)

// A Situation is what a client and a backend have behind them when they are joined. It
// is all that Protocol.Join knows of the time before.
type Situation struct {
	Client, Backend Phase

	Cleartext     bool // the client stays in plaintext, or may if the backend is needed early
	PlaintextAuth bool // and may send its password so
	ImplicitTLS   bool // the client began with TLS
	Upgraded      bool // the backend is one that we have upgraded

	// Kept is what Session.Keep has kept of the client's plaintext, or of what the backend
	// has said when it was asked for the upgrade. It is as little to be trusted as it was
	// before. For a client that stays in plaintext it is its introduction, in the words in which a backend is to be told.
	Kept []byte

	// Options are the configuration's.
	Options *Options
}
