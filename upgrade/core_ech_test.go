package upgrade

import (
	"bytes"
	"crypto/hpke"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Where ALPN is required of a client that begins with TLS, the ClientHello that counts is
// the encrypted one (RFC 9849): the outer one is for whoever is on the way.
func TestRequiredALPNIsThatOfTheEncryptedHello(t *testing.T) {
	ids := []string{"postgresql"}
	for name, test := range map[string]struct {
		outer, inner []string
		want         error
	}{
		"both":       {ids, ids, nil},
		"inner only": {nil, ids, nil},
		"outer only": {ids, nil, ErrNoALPN},
		"neither":    {nil, nil, ErrNoALPN},
	} {
		for way, give := range waysOfGivingKeys {
			t.Run(name+", "+way, func(t *testing.T) {
				keys := newECHKeys(t)
				raw, client := memPair()
				tell(t, client, string(keys.seal(t, clientHello(t, "public.example", test.outer), clientHello(t, testHost, test.inner))))
				require.NoError(t, client.CloseWrite())
				config, _ := coreTLS()
				config.NextProtos = ids
				give(config, []tls.EncryptedClientHelloKey{keys.server})
				err := refused(raw, Postgres, Config{TLS: config, ImplicitTLS: true})
				_ = raw.CloseWrite()
				answer, readErr := io.ReadAll(client)
				require.NoError(t, readErr)
				if test.want != nil {
					require.ErrorIs(t, err, test.want)
					require.Equal(t, []byte{21, 3, 3, 0, 2, 2, 120}, answer, "no_application_protocol")
					return
				}
				// The client goes no further than its ClientHello, which has been accepted.
				require.ErrorIs(t, err, ErrTruncated)
				require.Equal(t, byte(dialogue.RecordTypeHandshake), answer[0])
			})
		}
	}
}

// waysOfGivingKeys are how a configuration can have them.
var waysOfGivingKeys = map[string]func(*tls.Config, []tls.EncryptedClientHelloKey){
	"given": func(config *tls.Config, keys []tls.EncryptedClientHelloKey) { config.EncryptedClientHelloKeys = keys },
	"asked for": func(config *tls.Config, keys []tls.EncryptedClientHelloKey) {
		config.GetEncryptedClientHelloKeys = func(*tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) { return keys, nil }
	},
}

// echKeys are those of a server, with what a client needs to know of them.
type echKeys struct {
	server tls.EncryptedClientHelloKey
	public hpke.PublicKey
}

// newECHKeys makes an ECHConfig for DHKEM(X25519), HKDF-SHA256 and AES-128-GCM.
func newECHKeys(t *testing.T) *echKeys {
	kem, err := hpke.NewKEM(0x0020)
	require.NoError(t, err)
	private, err := kem.GenerateKey()
	require.NoError(t, err)
	key, err := private.Bytes()
	require.NoError(t, err)
	public := private.PublicKey()
	contents := slices.Concat([]byte{1, 0, 0x20}, sized16(public.Bytes()), sized16([]byte{0, 1, 0, 1}),
		[]byte{0, byte(len("public.example"))}, []byte("public.example"), sized16(nil))
	config := append([]byte{0xfe, 0x0d}, sized16(contents)...)
	return &echKeys{tls.EncryptedClientHelloKey{Config: config, PrivateKey: key}, public}
}

// seal makes the record of a ClientHello that has another one in it.
func (k *echKeys) seal(t *testing.T, outer, inner []byte) []byte {
	enc, sender, err := hpke.NewSender(k.public, hpke.HKDFSHA256(), hpke.AES128GCM(), append([]byte("tls ech\x00"), k.server.Config...))
	require.NoError(t, err)
	inner = withExtension(inner, []byte{1})
	sessionID := int(inner[34])
	inner = slices.Concat(inner[:34], []byte{0}, inner[35+sessionID:]) // the outer one's counts
	head := slices.Concat([]byte{0, 0, 1, 0, 1, 1}, sized16(enc))
	blank := make([]byte, len(inner)+16)
	payload, err := sender.Seal(withExtension(outer, append(head, sized16(blank)...)), inner)
	require.NoError(t, err)
	require.Len(t, payload, len(blank))
	hello := withExtension(outer, append(head, sized16(payload)...))
	message := slices.Concat([]byte{1, 0}, sized16(hello))
	return slices.Concat([]byte{dialogue.RecordTypeHandshake, 3, 1}, sized16(message))
}

// withExtension adds an encrypted_client_hello to a ClientHello.
func withExtension(hello, content []byte) []byte {
	at := 35 + int(hello[34])                              // behind the session id
	at += 2 + int(binary.BigEndian.Uint16(hello[at:]))     // the cipher suites
	at += 1 + int(hello[at])                               // the compression methods
	all := append([]byte{0xfe, 0x0d}, sized16(content)...) // the extension
	return append(slices.Clone(hello[:at]), sized16(append(slices.Clone(hello[at+2:]), all...))...)
}

func sized16(p []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)
}

// clientHello is one of TLS 1.3, without the heads of record and message.
func clientHello(t *testing.T, name string, alpn []string) []byte {
	said := new(helloTaker)
	err := tls.Client(said, &tls.Config{ServerName: name, NextProtos: alpn, MinVersion: tls.VersionTLS13}).Handshake()
	require.ErrorIs(t, err, errTaken)
	return bytes.Clone(said.hello[5+4:])
}

var errTaken = errors.New("has the ClientHello")

// A helloTaker is a connection that ends with the first Write.
type helloTaker struct {
	memConn
	hello []byte
}

func (c *helloTaker) Write(p []byte) (int, error) {
	c.hello = bytes.Clone(p)
	return 0, errTaken
}

func (*helloTaker) Close() error { return nil }
