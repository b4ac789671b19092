package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
)

// noALPN is the fatal alert no_application_protocol (RFC 7301 section 3.2) in a
// record of its own (RFC 8446 sections 5.1 and 6).
var noALPN = []byte{21, 3, 3, 0, 2, 2, 120}

// requireALPN refuses a client that began with TLS and offers no ALPN, by an alert in
// place of the handshake: crypto/tls does so for foreign ids only. The ClientHello is
// left for the handshake.
func requireALPN(ctx context.Context, below *transport, config *tls.Config) error {
	looking := &helloConn{transport: below}
	refuse := false
	_ = tls.Server(looking, &tls.Config{
		MinVersion:                  tls.VersionTLS12,
		EncryptedClientHelloKeys:    config.EncryptedClientHelloKeys,
		GetEncryptedClientHelloKeys: config.GetEncryptedClientHelloKeys,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			refuse = len(hello.SupportedProtos) == 0
			return nil, errors.New("seen")
		},
	}).HandshakeContext(ctx) // what else is wrong with it is for the handshake to say
	below.Unread(looking.seen)
	if !refuse {
		return nil
	}
	_, err := below.Write(noALPN)
	return errors.Join(ErrNoALPN, err)
}

// A helloConn keeps what is read from it, and says nothing.
type helloConn struct {
	*transport
	seen []byte
}

func (h *helloConn) Read(b []byte) (int, error) {
	n, err := h.transport.Read(b)
	h.seen = append(h.seen, b[:n]...)
	return n, err
}

func (h *helloConn) Write(b []byte) (int, error) { return len(b), nil }
