package integration_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/pires/go-proxyproto"
)

// renegotiationSuite is the one suite that renegotiate knows.
const renegotiationSuite = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256

// A wire keeps what one must know of a TLS 1.2 handshake to write records oneself.
type wire struct {
	net.Conn
	keys     bytes.Buffer // of tls.Config.KeyLogWriter
	received []byte       // the beginning of it
}

func newWire(conn net.Conn) *wire { return &wire{Conn: conn} }

// Read makes an error of an end that close_notify has not announced, which crypto/tls
// would not tell apart.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if len(w.received) < 64 {
		w.received = append(w.received, p[:n]...)
	}
	if errors.Is(err, io.EOF) {
		err = errTruncated
	}
	return n, err
}

var errTruncated = errors.New("ended without close_notify")

// sawPlaintext reports whether what was received is no TLS.
func (w *wire) sawPlaintext() bool {
	return len(w.received) > 0 && (w.received[0] < 20 || w.received[0] > 23)
}

// renegotiate sends a second ClientHello inside TLS 1.2, which no Go client can be
// made to do, and expects the server to end the connection over it.
func (p *peer) renegotiate() error {
	record, err := p.wire.sealHandshake(secondHello())
	if err != nil {
		return err
	}
	if _, err := p.raw.Write(record); err != nil {
		return err
	}
	if err := p.raw.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = p.tls.Read(make([]byte, 1))
	if err == nil || !strings.Contains(err.Error(), "remote error: tls: ") {
		return fmt.Errorf("renegotiation was answered with %w, want an alert", err)
	}
	return nil
}

// secondHello is a ClientHello without extensions (RFC 5246 section 7.4.1.2).
func secondHello() []byte {
	hello := append([]byte{1, 0, 0, 0, 3, 3}, make([]byte, 32)...)
	hello = binary.BigEndian.AppendUint16(append(hello, 0, 0, 2), renegotiationSuite)
	hello = append(hello, 1, 0)
	hello[3] = byte(len(hello) - 4)
	return hello
}

// sealHandshake makes the client's second encrypted record; the first one was its
// Finished (RFC 5288 section 3).
func (w *wire) sealHandshake(message []byte) ([]byte, error) {
	fields := strings.Fields(w.keys.String())
	if len(fields) != 3 || fields[0] != "CLIENT_RANDOM" || len(w.received) < 43 {
		return nil, errors.New("not a TLS 1.2 handshake")
	}
	clientRandom, err := hex.DecodeString(fields[1])
	if err != nil {
		return nil, err
	}
	master, err := hex.DecodeString(fields[2])
	if err != nil {
		return nil, err
	}
	serverRandom := w.received[11:43] // record header, type, length, version
	block := prf12(master, "key expansion", append(bytes.Clone(serverRandom), clientRandom...), 40)
	key, salt := block[:16], block[32:36]
	aead, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(aead)
	if err != nil {
		return nil, err
	}
	sequence := binary.BigEndian.AppendUint64(nil, 1)
	additional := append(bytes.Clone(sequence), 22, 3, 3, 0, byte(len(message)))
	sealed := gcm.Seal(sequence, append(bytes.Clone(salt), sequence...), message, additional)
	return append([]byte{22, 3, 3, 0, byte(len(sealed))}, sealed...), nil
}

// prf12 is the pseudorandom function of TLS 1.2 (RFC 5246 section 5).
func prf12(secret []byte, label string, seed []byte, n int) (out []byte) {
	seed = append([]byte(label), seed...)
	mac := func(data ...[]byte) []byte {
		h := hmac.New(sha256.New, secret)
		for _, d := range data {
			h.Write(d)
		}
		return h.Sum(nil)
	}
	for a := mac(seed); len(out) < n; a = mac(a) {
		out = append(out, mac(a, seed)...)
	}
	return out[:n]
}

// proxyHeader is a PROXY header, version 2, that may claim that TLS is over already.
func proxyHeader(conn net.Conn, claimTLS bool) []byte {
	header := proxyproto.HeaderProxyFromAddrs(2, conn.LocalAddr(), conn.RemoteAddr())
	if claimTLS {
		version := append([]byte{byte(proxyproto.PP2_SUBTYPE_SSL_VERSION), 0, 7}, "TLSv1.3"...)
		value := append([]byte{1, 0, 0, 0, 0}, version...)
		if err := header.SetTLVs([]proxyproto.TLV{{Type: proxyproto.PP2_TYPE_SSL, Value: value}}); err != nil {
			panic(err)
		}
	}
	b, err := header.Format()
	if err != nil {
		panic(err)
	}
	return b
}
