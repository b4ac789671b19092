package mysql

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol's
	"crypto/x509"
	"encoding/pem"
	"errors"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A client inside TLS sends its password as it is, where its plugin needs the whole of it:
// caching_sha2_password for full authentication, sha256_password always. A server that the
// same plugin serves without TLS wants it encrypted:
//
//	B: 01 04                 full authentication
//	C: password 00           inside TLS
//	our 02                   is for the server's public key
//	B: 01 -----BEGIN PUBLIC KEY-----
//	our RSA-OAEP(password 00 XOR challenge)

const (
	fullAuthentication = 4 // of caching_sha2_password, in AuthMoreData
	cachingWantsKey    = 2 // a client's wish for the key, in caching_sha2_password
	sha256WantsKey     = 1 // and in sha256_password
)

// maxPassword bounds a password, or what it has been made of, in octets: a key of 8192 bits.
const maxPassword = 1024

// A secret is a password on its way. It is wiped once it is used, or of no use.
type secret struct{ octets []byte }

// keep keeps a copy of a password.
func (s *secret) keep(password []byte) {
	s.octets = append(make([]byte, 0, headSize+maxPassword), password...)
}

// take adds octets of a packet, up to its end, and wipes them where they came from.
func (s *secret) take(b []byte) (n int) {
	if s.octets == nil {
		s.octets = make([]byte, 0, headSize+maxPassword)
	}
	for len(b) > n && len(s.octets) < s.wanted() {
		k := min(len(b)-n, s.wanted()-len(s.octets))
		s.octets = append(s.octets, b[n:n+k]...)
		clear(b[n : n+k])
		n += k
	}
	return n
}

// wanted is how many octets the packet has, as far as that is known.
func (s *secret) wanted() int {
	if len(s.octets) < headSize {
		return headSize
	}
	size, _ := head(s.octets)
	return headSize + min(size, maxPassword)
}

func (s *secret) wipe() {
	clear(s.octets[:cap(s.octets)])
	s.octets = nil
}

// translates reports whether the backend takes no password as it is, while the client sends
// it so.
func (f *filter) translates(x *dialogue.Exchange) bool { return f.secure && !x.BackendUpgraded() }

// hasPassword reports whether an answer has a password in it as it is, and not an empty
// one.
func hasPassword(answer []byte) bool { return len(answer) > 1 && answer[len(answer)-1] == 0 }

// takePassword takes the client's answer to the wish for its password, as it arrives, so
// that nobody else keeps any of it.
func (f *filter) takePassword(x *dialogue.Exchange, b []byte) int {
	n := f.secret.take(b)
	if len(f.secret.octets) < headSize {
		return n
	}
	size, number := head(f.secret.octets)
	switch {
	case number != f.client:
		x.CloseFor(dialogue.ErrMalformed)
		return len(b)
	case size > maxPassword:
		x.CloseFor(dialogue.ErrLineTooLong)
		return len(b)
	case len(f.secret.octets) < headSize+size:
		return n
	}
	f.secret.octets = f.secret.octets[headSize:]
	f.client++
	if f.upgraded {
		f.takeEncrypted(x)
		return n
	}
	f.stage, f.asked = proves, false
	if !hasPassword(f.secret.octets) { // a wish for the key, or what the client has encrypted with one
		f.sendSecret(x)
		return n
	}
	f.stage = key
	x.ToBackend(packet(f.backend, []byte{f.wantsKey()}))
	f.backend++
	return n
}

// wantsKey is a client's wish for the key.
func (f *filter) wantsKey() byte {
	if f.plugin == sha256Password {
		return sha256WantsKey
	}
	return cachingWantsKey
}

// sendSecret passes the secret on as it is, and forgets it.
func (f *filter) sendSecret(x *dialogue.Exchange) {
	x.ToBackend(packet(f.backend, f.secret.octets))
	f.backend++
	f.secret.wipe()
}

// takeKey takes the backend's key, and sends the password encrypted with it. It reports
// whether it was the key that has come.
func (f *filter) takeKey(x *dialogue.Exchange, payload []byte) bool {
	encoded := bytes.TrimPrefix(payload, []byte{replyMore})
	if !bytes.HasPrefix(encoded, []byte("-----BEGIN ")) {
		return false
	}
	f.backend++
	err := f.encrypt(encoded)
	if err != nil {
		x.CloseFor(dialogue.Unavailable{Cause: err})
		return true
	}
	f.stage = proves
	f.sendSecret(x)
	return true
}

var errNoKey = errors.New("no public key of RSA")

// encrypt replaces the password by what the server makes it of again with its private key.
func (f *filter) encrypt(encoded []byte) error {
	block, _ := pem.Decode(encoded)
	if block == nil {
		return errNoKey
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	public, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return errNoKey
	}
	f.obscure()
	encrypted, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public, f.secret.octets, nil) //nolint:gosec // the protocol's
	f.secret.wipe()
	f.secret.octets = encrypted
	return err
}

// obscure combines the password with the challenge, or takes it apart again.
func (f *filter) obscure() {
	for i := range f.secret.octets {
		f.secret.octets[i] ^= f.challenge[i%challengeSize]
	}
}
