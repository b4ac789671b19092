package mysql

import (
	"bytes"
	"cmp"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A stage is how far a session has come.
type stage int

const (
	greets   stage = iota // the backend's greeting is next
	begins                // the client's SSLRequest is next, or its login in plaintext
	logsIn                // the client's login is next
	proves                // what the account's plugin has to say, on both sides, until the login is over
	password              // the client's password is next, for a backend that wants it encrypted
	key                   // the key to encrypt it with is next, from the backend
)

// A filter stands between a client and a backend until the login is over. Of the two legs
// one has an SSLRequest more, so that the packets have other numbers.
type filter struct {
	stage    stage
	upgraded bool // the backend is inside TLS, the client is not
	secure   bool // it is the client that is inside TLS
	required bool // a client in plaintext is refused
	watches  bool // a client in plaintext may not send its password so
	offers   bool // TLS is offered to the client
	longest  int  // a packet's payload in plaintext

	client, backend         byte // the number of the next packet on either leg, whoever sends it
	clientRest, backendRest int64
	asked                   bool // the backend has said something that the client may answer
	encrypts                bool // what the client answers has the password in it, in one way or another
	keySent                 bool // the client has our key

	capabilities uint32              // of the backend
	plugin       string              // that proves now,
	challenge    [challengeSize]byte // with this

	secret  secret
	waiting []byte // a login that is to have the password in it
}

func newFilter(s dialogue.Situation) dialogue.Filter {
	switch {
	case s.Upgraded:
		return newUpgraded(s)
	case s.Backend == dialogue.Introduced: // it has no TLS, and has not been asked for anything
		return nil
	}
	return &filter{
		longest:  cmp.Or(s.Options.Limits.Message, maxPacket),
		required: !s.Cleartext,
		watches:  !s.PlaintextAuth,
		offers:   s.Options.TLSAvailable == nil || s.Options.TLSAvailable(),
	}
}

// Start implements dialogue.Filter.
func (f *filter) Start(x *dialogue.Exchange) {
	switch {
	case f.stage == greets && f.upgraded:
		x.CloseFor(dialogue.ErrBackend)
	case f.stage == greets:
		x.Hold()
	}
}

// FromClient implements dialogue.Filter.
func (f *filter) FromClient(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.clientRest > 0:
		n := dialogue.CutRest(&f.clientRest, b)
		x.ToBackend(b[:n])
		return n
	case f.stage == greets, f.stage == key, f.stage == proves && !f.asked:
		x.Hold()
		return 0
	case f.stage == password:
		return f.takePassword(x, b)
	case len(b) < headSize:
		return 0
	}
	size, number := head(b)
	switch {
	case number != f.client:
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	case size > maxPacket, size > f.longest && !f.secure && !f.upgraded:
		x.CloseFor(dialogue.ErrLineTooLong)
		return len(b)
	case f.stage == begins:
		return f.begin(x, b, size)
	case f.stage == logsIn:
		return f.logIn(x, b, size)
	}
	return f.answer(x, b, size)
}

// begin takes the client's first packet. A server that has TLS begins it at the flag alone:
// a login in plaintext that has it set is none.
func (f *filter) begin(x *dialogue.Exchange, b []byte, size int) int {
	switch {
	case size < sslRequestSize:
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	case len(b) < headSize+sslRequestSize:
		return 0
	}
	asks := clientCapabilities(b[headSize:])&offersTLS != 0
	switch {
	case asks && size == sslRequestSize && f.offers:
		f.client++
		f.stage, f.secure, f.watches = logsIn, true, false
		x.Upgrade(nil)
		return headSize + size
	case f.required:
		x.RefusedLogin()
		x.CloseFor(dialogue.ErrPlaintext)
		return len(b)
	case asks:
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	case !f.watches:
		x.Detach()
		return 0
	}
	return f.logIn(x, b, size)
}

// logIn passes the login on, with the flag as it is for the backend.
func (f *filter) logIn(x *dialogue.Exchange, b []byte, size int) int {
	end := headSize + min(size, dialogue.MaxFiltered-headSize)
	if len(b) < end {
		return 0
	}
	payload := b[headSize:end]
	l, ok := parseLogin(payload, f.capabilities)
	if !ok || f.upgraded && l.capabilities&offersTLS != 0 {
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	}
	f.plugin = l.plugin
	if f.mustNotSay(l.auth, l.plugin == sha256Password) {
		f.refusePassword(x)
		return len(b)
	}
	setTLS(payload, f.upgraded)
	if f.upgraded && l.wantsKey() && size == len(payload) {
		f.waiting = bytes.Clone(payload)
		f.client++
		f.askForEncrypted(x)
		return end
	}
	f.stage, f.clientRest = proves, int64(headSize+size-end)
	if l.plugin == sha256Password && f.translates(x) && hasPassword(l.auth) {
		asking := l.withAuth(payload, []byte{sha256WantsKey})
		f.secret.keep(l.auth)
		f.stage = key
		f.toBackend(x, asking, size+len(asking)-len(payload))
		clear(payload)
		return end
	}
	f.renumber(x, b[:end])
	return end
}

// answer passes on what the client says to the backend's plugin.
func (f *filter) answer(x *dialogue.Exchange, b []byte, size int) int {
	n := min(len(b), headSize+size)
	if f.watches && f.encrypts {
		n = headSize + size
		switch {
		case size > maxPassword, len(b) >= n && f.mustNotSay(b[headSize:n], true):
			f.refusePassword(x)
			return len(b)
		case len(b) < n:
			return 0
		}
	}
	f.asked = false
	f.clientRest = int64(headSize + size - n)
	f.renumber(x, b[:n])
	return n
}

// mustNotSay reports whether an answer would give a password away: that of a client in
// plaintext, by what its plugin does.
func (f *filter) mustNotSay(answer []byte, encrypts bool) bool {
	return f.watches && (!answersChallenge[f.plugin] || encrypts && !isEncrypted(answer))
}

func (f *filter) refusePassword(x *dialogue.Exchange) {
	x.RefusedLogin()
	x.CloseFor(dialogue.ErrPlaintext)
}

// renumber passes on a packet of the client's, or its beginning, where it lies, with the number
// that it has on the other leg.
func (f *filter) renumber(x *dialogue.Exchange, packet []byte) {
	packet[headSize-1] = f.backend
	x.ToBackend(packet)
	f.client, f.backend = f.client+1, f.backend+1
}

// toBackend passes on a payload, or its beginning, in a packet with the number that it has on
// the backend's leg.
func (f *filter) toBackend(x *dialogue.Exchange, payload []byte, size int) {
	x.ToBackend(packetHead(size, f.backend))
	x.ToBackend(payload)
	f.client, f.backend = f.client+1, f.backend+1
}

// toClient is toBackend the other way. What a backend says is in the buffer of whoever writes
// it, in which nothing may be changed.
func (f *filter) toClient(x *dialogue.Exchange, payload []byte, size int) {
	x.ToClient(packetHead(size, f.client))
	x.ToClient(payload)
	f.client, f.backend = f.client+1, f.backend+1
}

// BackendEnded tells a client that waits for something. What has come in part goes nowhere.
func (f *filter) BackendEnded(x *dialogue.Exchange) { x.CloseFor(dialogue.ErrBackend) }

// ClientEnded forgets a password of which the rest will not come.
func (f *filter) ClientEnded(*dialogue.Exchange, []byte) { f.secret.wipe() }

// ErrorReply words the end of a session, with the number that the client expects: if it is
// to speak, that behind its packet.
func (f *filter) ErrorReply(why error) []byte {
	f.secret.wipe()
	number := f.client
	if f.stage == begins || f.stage == logsIn || f.stage == password || f.stage == proves && f.asked {
		number++
	}
	return errorPacket(number, why)
}
