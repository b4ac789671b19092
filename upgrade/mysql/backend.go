package mysql

import (
	"bytes"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxLook is how much of a packet of the backend's says what it is, with the name of a
// plugin and its challenge.
const maxLook = 1024

// FromBackend implements dialogue.Filter.
func (f *filter) FromBackend(x *dialogue.Exchange, b []byte) int {
	switch {
	case f.backendRest > 0:
		n := dialogue.CutRest(&f.backendRest, b)
		x.ToClient(b[:n])
		return n
	case len(b) < headSize:
		return 0
	}
	size, number := head(b)
	if number != f.backend || size > maxPacket || f.stage == begins || f.stage == logsIn || f.stage == password {
		x.CloseFor(dialogue.ErrBackend) // what it says is no answer
		return len(b)
	}
	end := headSize + min(size, maxLook)
	if f.stage != proves || size > 0 && len(b) > headSize && b[headSize] == replyError {
		end = headSize + size
	}
	switch {
	case end > dialogue.MaxFiltered:
		x.CloseFor(dialogue.ErrBackend)
		return len(b)
	case len(b) < min(end, headSize+1), len(b) < end:
		return 0
	}
	f.reply(x, b[headSize:end], size)
	return end
}

// reply takes a packet of the backend's, or its beginning.
func (f *filter) reply(x *dialogue.Exchange, payload []byte, size int) {
	switch {
	case f.stage == greets:
		f.greet(x, payload)
		return
	case f.stage == key && f.takeKey(x, payload):
		return
	}
	f.stage = proves
	f.secret.wipe()
	f.backendRest = int64(size - len(payload))
	if f.hear(x, payload); f.watches && !answersChallenge[f.plugin] {
		f.refusePassword(x)
		return
	}
	f.toClient(x, payload, size)
	switch {
	case len(payload) > 0 && payload[0] == replyOK:
		x.Detach()
	case len(payload) > 0 && payload[0] == replyError:
		x.Close(nil)
	default:
		f.asked = true
		x.Release()
	}
}

// greet passes the greeting on, with TLS offered. An error in its place is the backend's word
// on a host that it does not serve, or on too many connections.
func (f *filter) greet(x *dialogue.Exchange, payload []byte) {
	g, ok := parseGreeting(payload)
	switch {
	case len(payload) > 0 && payload[0] == replyError:
		x.Refused()
		x.Close(packet(0, payload))
		return
	case !ok:
		x.CloseFor(dialogue.ErrBackend)
		return
	case f.required && !f.offers:
		x.Close(tlsUnavailable.packet(0))
		return
	}
	f.capabilities, f.challenge = g.capabilities, g.challenge
	f.stage = begins
	f.toClient(x, g.offering(f.offers), len(payload))
	x.Release()
}

// hear learns from what the backend's plugin says what the client will answer. MariaDB puts
// AuthMoreData's octet only in front of what could be taken for something else.
func (f *filter) hear(x *dialogue.Exchange, payload []byte) {
	more := bytes.TrimPrefix(payload, []byte{replyMore})
	switch {
	case len(payload) == 0:
		return
	case payload[0] == replySwitch, payload[0] == replyFactor && f.capabilities&multiFactor != 0:
		name, challenge, _ := bytes.Cut(payload[1:], []byte{0})
		f.plugin, f.encrypts = string(name), string(name) == sha256Password
		if len(challenge) >= challengeSize {
			copy(f.challenge[:], challenge)
		}
	case f.plugin == cachingSHA2 && len(more) == 1 && more[0] == fullAuthentication:
		f.encrypts = true
	}
	if f.encrypts && (f.upgraded || f.translates(x)) {
		f.stage = password
	}
}
