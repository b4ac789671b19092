package mysql

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol's
	"crypto/x509"
	"encoding/pem"
	"math"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// newUpgraded makes the filter of a client in plaintext whose server is inside TLS. The
// client has been greeted, and what it answered has made the SSLRequest.
func newUpgraded(s dialogue.Situation) dialogue.Filter {
	if s.Client == dialogue.Unheard {
		return &filter{upgraded: true} // there is no greeting to wait for
	}
	f := &filter{stage: logsIn, upgraded: true, client: 1, backend: 2, capabilities: math.MaxUint32}
	if g, ok := parseGreeting(s.Kept); ok {
		f.capabilities, f.challenge = g.capabilities, g.challenge
	}
	return f
}

// ownKey is what clients encrypt their passwords with, for a server that wants them as they
// are. It is made when it is needed first.
var ownKey = dialogue.Once(func() *rsa.PrivateKey {
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil
	}
	return own
})

// takeEncrypted takes what a client in plaintext says to the wish for its password: it
// wants a key to encrypt it with, then it has, or it sends it as it is.
func (f *filter) takeEncrypted(x *dialogue.Exchange) {
	own := ownKey()
	f.stage, f.asked = proves, false
	switch answer := f.secret.octets; {
	case own == nil:
		x.CloseFor(dialogue.ErrBackend)
		return
	case len(answer) == 1 && answer[0] == f.wantsKey() && !f.keySent:
		f.sendKey(x, own)
		return
	case f.keySent && len(answer) == own.Size():
		decrypted, err := rsa.DecryptOAEP(sha1.New(), nil, own, answer, nil) //nolint:gosec // the protocol's
		if err != nil {
			x.CloseFor(dialogue.ErrMalformed)
			return
		}
		f.secret.octets = decrypted
		f.obscure()
	}
	f.sendDecrypted(x)
}

// askForEncrypted has a client that wants the key with its login have ours.
func (f *filter) askForEncrypted(x *dialogue.Exchange) {
	own := ownKey()
	if own == nil {
		x.CloseFor(dialogue.ErrBackend)
		return
	}
	f.sendKey(x, own)
}

// sendDecrypted passes the password on, in the login that waits for it if there is one.
func (f *filter) sendDecrypted(x *dialogue.Exchange) {
	if f.waiting == nil {
		f.sendSecret(x)
		return
	}
	l, ok := parseLogin(f.waiting, f.capabilities)
	if !ok || len(f.secret.octets) > 250 {
		x.CloseFor(dialogue.ErrMalformed)
		return
	}
	login := l.withAuth(f.waiting, f.secret.octets)
	x.ToBackend(packet(f.backend, login))
	f.backend++
	clear(login)
	f.secret.wipe()
	f.waiting = nil
}

// sendKey answers a client's wish for the server's key with ours.
func (f *filter) sendKey(x *dialogue.Exchange, own *rsa.PrivateKey) {
	f.secret.wipe()
	f.stage, f.keySent = password, true
	encoded, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		x.CloseFor(dialogue.ErrBackend)
		return
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded})
	x.ToClient(packet(f.client, append([]byte{replyMore}, block...)))
	f.client++
}
