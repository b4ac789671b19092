package dialogue

import "errors"

// A Filter stands between a client and a backend while their states differ, and
// leaves as soon as the protocol allows. Its methods are never called concurrently.
// FromClient and FromBackend are given all that has arrived and was not consumed; they
// return how much of it they consume, and pass on what they see fit with the Exchange's
// methods. Zero means that more must arrive. What they are given is theirs until they
// return: pass on slices of it, which costs no copy, and keep none.
//
// A Filter may have more methods: those of BackendEnder, ClientEnder and ErrorReplier.
type Filter interface {
	// Start is called once, before anything else.
	Start(x *Exchange)
	FromClient(x *Exchange, b []byte) (consumed int)
	FromBackend(x *Exchange, b []byte) (consumed int)
}

// A BackendEnder is a Filter that wants to know that the backend has nothing more to say.
// Nothing is held any more when it has returned.
type BackendEnder interface{ BackendEnded(x *Exchange) }

// A ClientEnder is a Filter that wants to know that the client has nothing more to say,
// with what it has not consumed. Where a filter does not, that is dropped: it was never
// understood.
type ClientEnder interface {
	ClientEnded(x *Exchange, rest []byte)
}

// An ErrorReplier is a Filter with last words of its own for a client whose session ends for the
// reason why.
type ErrorReplier interface{ ErrorReply(why error) []byte }

// An Exchange is what a Filter sees of a session: two lanes, each with bytes that have
// arrived and bytes to pass on, and a few verbs. It does no I/O and has no locks; whoever
// drives it has both.
type Exchange struct {
	filter Filter
	host   Host
	data   DataService // nil if there is none

	fromClient, fromBackend lane

	detached bool  // the filter has left
	closed   bool  // the client has had its last words
	why      error // for this, if the protocol has words of its own for it
	held     bool  // the client's bytes wait
	awaited  bool  // as Await says
	gone     bool  // the backend has ended
	greeted  bool  // what was held at the start has been released once
	left     bool  // the client has ended
	amidLine bool  // as AmidLine says
	deaf     bool  // nothing more of the client's is read

	triedLogin bool // as RefusedLogin says
	refused    bool // as Refused says

	upgrade *upgradeRequest
	secured bool // as BackendUpgraded says
}

// An upgradeRequest is a filter's wish to begin TLS with the client.
type upgradeRequest struct{ goAhead []byte }

// A Host is whoever drives an Exchange.
type Host interface {
	// LastWords are what a client is told when its session ends for the reason why.
	LastWords(why error) []byte

	// Warn is told what an administrator should change at the backend.
	Warn(message string)
}

// Begin puts a filter into an Exchange that is zero, and starts it. Without a filter, everything
// passes.
func (x *Exchange) Begin(filter Filter, host Host) {
	x.filter, x.host = filter, host
	if filter == nil {
		x.detached = true
		return
	}
	filter.Start(x)
}

// NewExchange makes an Exchange that has begun, with functions in place of a Host.
func NewExchange(filter Filter, lastWords func(why error) []byte, warn func(string)) *Exchange {
	x := new(Exchange)
	x.Begin(filter, hostFuncs{lastWords, warn})
	return x
}

// hostFuncs is a Host of functions.
type hostFuncs struct {
	lastWords func(why error) []byte
	warn      func(string)
}

func (h hostFuncs) LastWords(why error) []byte { return h.lastWords(why) }

func (h hostFuncs) Warn(message string) { h.warn(message) }

// ToBackend passes bytes on to the backend, also while the client's are held.
func (x *Exchange) ToBackend(p []byte) { x.fromClient.pass(p) }

// ToClient passes bytes on to the client.
func (x *Exchange) ToClient(p []byte) { x.fromBackend.pass(p) }

// AmidLine notes whether what was passed on to the client last is half a line of a reply. The
// last words begin a line of their own then.
func (x *Exchange) AmidLine(amid bool) { x.amidLine = amid }

// Hold keeps the client's bytes back until Release: a backend that has not greeted yet
// takes early talkers for spammers. What Start holds is held for
// Config.NegotiationTimeout at the most, then the client is told that the backend is not
// available. Once the backend has ended there is nothing to wait for, and Hold does
// nothing.
func (x *Exchange) Hold() { x.held = !x.gone }

// StopReading has nothing more read from the client, not even its end.
func (x *Exchange) StopReading() { x.deaf = true }

// Await limits the wait for a backend that speaks first as Hold does, but keeps nothing
// back. It is for Start.
func (x *Exchange) Await() { x.awaited = true }

// Release ends Hold and Await.
func (x *Exchange) Release() { x.held, x.awaited, x.greeted = false, false, true }

// Detach takes the filter out of the data path. What it has not consumed is passed on as
// it is.
func (x *Exchange) Detach() {
	x.detached = true
	x.Release()
}

var crlf = []byte("\r\n")

// Close sends last words to the client and ends the exchange. The backend sees the
// client's end.
func (x *Exchange) Close(words []byte) {
	if x.closed {
		return
	}
	if x.amidLine && len(words) > 0 {
		x.ToClient(crlf)
	}
	x.ToClient(words)
	x.closed = true
	x.Release()
}

// CloseFor is Close in the words of the filter, if it is an ErrorReplier, or of the protocol.
func (x *Exchange) CloseFor(why error) {
	if !x.closed {
		x.why = why
	}
	if f, ok := x.filter.(ErrorReplier); ok {
		x.Close(f.ErrorReply(why))
		return
	}
	x.Close(x.host.LastWords(why))
}

// Forget lets go of a filter that has left, and that is asked for nothing any more.
func (x *Exchange) Forget() {
	if x.detached {
		x.filter = nil
	}
}

// Upgrade begins TLS with a client in plaintext, behind the bytes that FromClient consumes
// now, or has consumed if it is FromBackend that calls: what the client sent behind them must
// be the ClientHello if goAhead is nil, or must not be there at all.
func (x *Exchange) Upgrade(goAhead []byte) { x.upgrade = &upgradeRequest{goAhead} }

// BackendUpgraded reports whether what is passed on to the backend goes over TLS that has
// been asked for on the way, so that the backend takes it for a client's inside TLS.
func (x *Exchange) BackendUpgraded() bool { return x.secured }

// SetBackendUpgraded is for whoever upgrades the backend.
func (x *Exchange) SetBackendUpgraded() { x.secured = true }

// RefusedLogin notes that a client in plaintext has tried to log in, and was refused.
func (x *Exchange) RefusedLogin() { x.triedLogin = true }

// TriedLogin reports whether a filter has called RefusedLogin.
func (x *Exchange) TriedLogin() bool { return x.triedLogin }

// Refused notes that the backend has refused to serve the client, in words that are passed
// on. CloseFor(ErrBackend) says so, too.
func (x *Exchange) Refused() { x.refused = true }

// BackendRefused reports whether the backend did, or was not to be understood.
func (x *Exchange) BackendRefused() bool { return x.refused || errors.Is(x.why, ErrBackend) }

// Warn passes on what an administrator should change at the backend.
func (x *Exchange) Warn(message string) { x.host.Warn(message) }

// ClientSays feeds the filter with what the client has said, behind what is left of
// earlier, and fills out with what is to be delivered to the backend. said and out may be
// the same: then what passes as it is costs no copy. What out has no room for is delivered
// by DeliverToBackend.
func (x *Exchange) ClientSays(said, out []byte) (n int) {
	l := &x.fromClient
	l.arrive(said)
	for l.more() && !x.detached && !x.closed && !x.held && x.upgrade == nil {
		if !l.consume(x.filter.FromClient(x, l.rest())) {
			break
		}
	}
	switch {
	case x.detached && x.upgrade == nil:
		l.passRest()
		x.fromBackend.passRest() // or it would wait for the backend's next word
	case x.gone && len(l.rest()) > MaxFiltered, x.closed:
		l.at = len(l.input) // for nobody
	}
	return l.settle(out)
}

// DeliverToBackend fills out with what is to be delivered to the backend.
func (x *Exchange) DeliverToBackend(out []byte) (n int) { return x.fromClient.take(out) }

// BackendSays feeds the filter with what the backend has said, behind what is left of
// earlier. It returns what is to be delivered to the client, which may be a part of said.
func (x *Exchange) BackendSays(said []byte) (forClient []byte) {
	l := &x.fromBackend
	l.arrive(said)
	for l.more() && !x.detached && !x.closed {
		if !l.consume(x.filter.FromBackend(x, l.rest())) {
			break
		}
	}
	switch {
	case x.detached:
		l.passRest()
	case x.closed:
		l.at = len(l.input) // for nobody
	}
	return l.settleAll()
}

// DeliverToClient returns what else is to be delivered to the client, such as replies that
// a filter has given itself.
func (x *Exchange) DeliverToClient() []byte { return x.fromBackend.takeAll() }

// BackendEnded tells the filter that the backend has nothing more to say. Nothing is held
// from then on.
func (x *Exchange) BackendEnded() {
	x.gone = true
	if f, ok := x.filter.(BackendEnder); ok && !x.detached && !x.closed {
		f.BackendEnded(x)
	}
	if !x.closed {
		x.fromBackend.passRest()
	}
	x.Release()
}

// ClientEnded tells the filter, once, that the client has nothing more to say.
func (x *Exchange) ClientEnded() {
	if x.left {
		return
	}
	x.left = true
	rest := x.fromClient.arrived
	x.fromClient.arrived = nil
	if f, ok := x.filter.(ClientEnder); ok && !x.detached && !x.closed {
		f.ClientEnded(x, rest)
	}
}

// Room is how many more octets of the client's may be read: while its bytes wait, that is
// bounded.
func (x *Exchange) Room(wanted int) int {
	switch {
	case x.deaf:
		return 0
	case !x.held:
		return wanted
	}
	return min(wanted, max(0, maxAhead-len(x.fromClient.arrived)))
}

// HasForBackend reports whether there is something to deliver to the backend, or an end, or
// something to feed that does not wait, or TLS to begin.
func (x *Exchange) HasForBackend() bool {
	return len(x.fromClient.passed) > 0 || x.closed || x.upgrade != nil || !x.held && len(x.fromClient.arrived) > 0
}

// HasFromClient reports whether something that the client has said is not consumed.
func (x *Exchange) HasFromClient() bool { return len(x.fromClient.arrived) > 0 }

// Held reports whether the client's bytes wait.
func (x *Exchange) Held() bool { return x.held }

// Awaited reports whether the backend has yet to speak: Hold or Await wants it to.
func (x *Exchange) Awaited() bool { return x.held || x.awaited }

// Greeted reports whether what Start held, or awaited, has been released.
func (x *Exchange) Greeted() bool { return x.greeted || x.filter == nil }

// Detached reports whether the filter has left.
func (x *Exchange) Detached() bool { return x.detached }

// Closed reports whether the client has had its last words.
func (x *Exchange) Closed() bool { return x.closed }

// ClosedFor is what CloseFor was told, if it ended the exchange.
func (x *Exchange) ClosedFor() error { return x.why }

// HasForClient reports whether a filter has said something to the client itself.
func (x *Exchange) HasForClient() bool { return len(x.fromBackend.passed) > 0 }

// WantsUpgrade reports that Upgrade was asked for, and that all before it is delivered.
func (x *Exchange) WantsUpgrade() bool { return x.upgrade != nil && len(x.fromClient.passed) == 0 }

// TakeUpgrade returns what Upgrade has asked for, which it is no longer then, and what the
// client has sent behind it.
func (x *Exchange) TakeUpgrade() (behind, goAhead []byte) {
	behind, goAhead = x.fromClient.arrived, x.upgrade.goAhead
	x.fromClient.arrived, x.upgrade = nil, nil
	return behind, goAhead
}
