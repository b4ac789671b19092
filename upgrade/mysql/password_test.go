package mysql_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/mysql"
)

// A session is one of a client and a backend with the filter in between.
type session struct {
	t *testing.T
	x *dialogue.Exchange
}

func newSession(t *testing.T, s dialogue.Situation) *session {
	s.Options = new(dialogue.Options)
	filter := mysql.Protocol.Join(s)
	reply := filter.(interface{ ErrorReply(error) []byte }).ErrorReply
	return &session{t, dialogue.NewExchange(filter, reply, func(string) {})}
}

func packet(number byte, payload string) string {
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))|uint32(number)<<24)) + payload
}

// client has the client say something, in pieces of the given size, and returns what the
// backend hears and what the client does.
func (s *session) client(said string, size int) (backend, client string) {
	out := make([]byte, 8192)
	for len(said) > 0 {
		piece := []byte(said[:min(size, len(said))])
		said = said[len(piece):]
		n := s.x.ClientSays(piece, out)
		backend += string(out[:n])
		n = s.x.DeliverToBackend(out)
		backend += string(out[:n])
		client += string(s.x.DeliverToClient())
	}
	return backend, client
}

// backend has the backend say something.
func (s *session) backend(said string) (backend, client string) {
	client = string(s.x.BackendSays([]byte(said)))
	out := make([]byte, 8192)
	return string(out[:s.x.DeliverToBackend(out)]), client
}

const (
	challenge = "abcdefghijklmnopqrst"
	other     = "ABCDEFGHIJKLMNOPQRST"
	greets    = "\x0a8.0.36\x00\x07\x00\x00\x00abcdefgh\x00\xff\xf7\x2d\x02\x00\xff\xdf\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00ijklmnopqrst\x00caching_sha2_password\x00"
	caps      = "\x05\xa2\xbf\x00"
	begins    = caps + "\x00\x00\x00\x01\x2d" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	asks      = "\x05\xaa\xbf\x00\x00\x00\x00\x01\x2d" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

var sha256Switch = "\xfesha256_password\x00" + other + "\x00"

func login(begins, answer, plugin string) string {
	return begins + "alice\x00" + string([]byte{byte(len(answer))}) + answer + plugin + "\x00"
}

// beginTLS is a session up to the beginning of TLS.
func beginTLS(t *testing.T) *session {
	s := newSession(t, dialogue.Situation{})
	s.backend(packet(0, greets))
	s.client(packet(1, asks), 100)
	require.True(t, s.x.WantsUpgrade())
	s.x.TakeUpgrade()
	return s
}

// insideTLS is a session up to the login inside TLS.
func insideTLS(t *testing.T, login string) *session {
	s := beginTLS(t)
	backend, client := s.client(packet(2, login), 100)
	require.Len(t, backend, len(packet(1, login)))
	require.Empty(t, client)
	return s
}

func key(t *testing.T, bits int) (private *rsa.PrivateKey, public string) {
	private, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	require.NoError(t, err)
	return private, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded}))
}

// xor is what the protocol does with a password and a challenge, before and behind RSA.
func xor(text, challenge string) string {
	p := []byte(text)
	for i := range p {
		p[i] ^= challenge[i%len(challenge)]
	}
	return string(p)
}

// A backend without TLS gets the password as it wants it, whatever has asked for it.
func TestPasswordIsEncrypted(t *testing.T) {
	for name, c := range map[string]struct {
		login     string
		before    []string // of the backend, and what it says with the client's answers in between
		wish      string
		challenge string
		prefix    string
	}{
		"full authentication":       {login(asks, strings.Repeat("h", 32), "caching_sha2_password"), []string{"\x01\x04"}, "\x02", challenge, "\x01"},
		"without a prefix":          {login(asks, strings.Repeat("h", 32), "caching_sha2_password"), []string{"\x04"}, "\x02", challenge, ""},
		"behind an AuthSwitch":      {login(asks, "", "mysql_native_password"), []string{"\xfecaching_sha2_password\x00" + other + "\x00", "\x01\x04"}, "\x02", other, "\x01"},
		"sha256_password by switch": {login(asks, "", "mysql_native_password"), []string{sha256Switch}, "\x01", other, "\x01"},
	} {
		for _, password := range []string{"secret", "s", strings.Repeat("x", 80), "\xc3\xa4\t"} {
			for _, size := range []int{1, 7, 1000} {
				t.Run(name, func(t *testing.T) {
					private, public := key(t, 1024)
					s := insideTLS(t, c.login)
					number := byte(2)
					for i, said := range c.before {
						if i > 0 {
							s.client(packet(number+1, "answer"), 100)
							number++
						}
						_, client := s.backend(packet(number, said))
						require.Equal(t, packet(number+1, said), client)
						number++
					}
					backend, client := s.client(packet(number+1, password+"\x00"), size)
					require.Equal(t, packet(number, c.wish), backend)
					require.Empty(t, client)
					backend, client = s.backend(packet(number+1, c.prefix+public))
					require.Empty(t, client)
					require.Equal(t, packet(number+2, backend[4:]), backend)
					decrypted, err := rsa.DecryptOAEP(sha1.New(), nil, private, []byte(backend[4:]), nil)
					require.NoError(t, err)
					require.Equal(t, password+"\x00", xor(string(decrypted), c.challenge))
					_, client = s.backend(packet(number+3, "\x00\x00\x00\x02\x00\x00\x00"))
					require.Equal(t, packet(number+2, "\x00\x00\x00\x02\x00\x00\x00"), client, "the client has no gap in the numbers")
					require.True(t, s.x.Detached())
				})
			}
		}
	}
}

// So does one whose client has sent the password with the login.
func TestPasswordInTheLoginIsEncrypted(t *testing.T) {
	private, public := key(t, 1024)
	s := beginTLS(t)
	backend, _ := s.client(packet(2, login(asks, "secret\x00", "sha256_password")), 100)
	require.Equal(t, packet(1, login(begins, "\x01", "sha256_password")), backend)
	backend, client := s.backend(packet(2, "\x01"+public))
	require.Empty(t, client)
	decrypted, err := rsa.DecryptOAEP(sha1.New(), nil, private, []byte(backend[4:]), nil)
	require.NoError(t, err)
	require.Equal(t, "secret\x00", xor(string(decrypted), challenge))
	_, client = s.backend(packet(4, "\x00\x00\x00\x02\x00\x00\x00"))
	require.Equal(t, packet(3, "\x00\x00\x00\x02\x00\x00\x00"), client)
}

// A password that no key of the backend's can carry ends the login, and goes nowhere.
func TestPasswordBeyondTheKey(t *testing.T) {
	_, public := key(t, 1024)
	s := insideTLS(t, login(asks, strings.Repeat("h", 32), "caching_sha2_password"))
	s.backend(packet(2, "\x01\x04"))
	s.client(packet(4, strings.Repeat("x", 300)+"\x00"), 100)
	backend, client := s.backend(packet(4, "\x01"+public))
	require.Empty(t, backend)
	require.Contains(t, client, "\xff\x60\x0c#HY000")
	require.Equal(t, byte(5), client[3])
	require.True(t, s.x.Closed())
}

// What the client has sent is wiped where it lay.
func TestPasswordIsWiped(t *testing.T) {
	full := insideTLS(t, login(asks, strings.Repeat("h", 32), "caching_sha2_password"))
	full.backend(packet(2, "\x01\x04"))
	for name, c := range map[string]struct {
		session *session
		says    string
	}{
		"full authentication": {full, packet(4, "secret\x00")},
		"in the login":        {beginTLS(t), packet(2, login(asks, "secret\x00", "sha256_password"))},
	} {
		said, out := []byte(c.says), make([]byte, 1024)
		n := c.session.x.ClientSays(said, out)
		require.NotContains(t, string(said), "secret", name)
		require.NotContains(t, string(out[:n]), "secret", name)
	}
}

// A client in plaintext encrypts its password for a server that wants it as it is.
func TestPasswordIsDecrypted(t *testing.T) {
	for name, c := range map[string]struct{ before, wish, challenge string }{
		"full authentication": {"\x01\x04", "\x02", challenge},
		"sha256_password":     {sha256Switch, "\x01", other},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, dialogue.Situation{Upgraded: true, Client: dialogue.Greeted, Kept: []byte(greets)})
			backend, _ := s.client(packet(1, login(begins, strings.Repeat("h", 32), "caching_sha2_password")), 100)
			require.Equal(t, packet(2, login(asks, strings.Repeat("h", 32), "caching_sha2_password")), backend)
			_, client := s.backend(packet(3, c.before))
			require.Equal(t, packet(2, c.before), client)
			backend, client = s.client(packet(3, c.wish), 1)
			require.Empty(t, backend)
			require.Equal(t, packet(4, client[4:]), client)
			block, _ := pem.Decode([]byte(strings.TrimPrefix(client[4:], "\x01")))
			public, err := x509.ParsePKIXPublicKey(block.Bytes)
			require.NoError(t, err)
			encrypted, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public.(*rsa.PublicKey), []byte(xor("secret\x00", c.challenge)), nil)
			require.NoError(t, err)
			backend, client = s.client(packet(5, string(encrypted)), 7)
			require.Equal(t, packet(4, "secret\x00"), backend)
			require.Empty(t, client)
			_, client = s.backend(packet(5, "\x00\x00\x00\x02\x00\x00\x00"))
			require.Equal(t, packet(6, "\x00\x00\x00\x02\x00\x00\x00"), client)
			require.True(t, s.x.Detached())
		})
	}
}

// So does one that wants the key with its login, which waits for the password then.
func TestPasswordForTheLoginIsDecrypted(t *testing.T) {
	s := newSession(t, dialogue.Situation{Upgraded: true, Client: dialogue.Greeted, Kept: []byte(greets)})
	backend, client := s.client(packet(1, login(begins, "\x01", "sha256_password")), 1)
	require.Empty(t, backend)
	require.Equal(t, packet(2, client[4:]), client)
	block, _ := pem.Decode([]byte(strings.TrimPrefix(client[4:], "\x01")))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	encrypted, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, public.(*rsa.PublicKey), []byte(xor("secret\x00", challenge)), nil)
	require.NoError(t, err)
	backend, _ = s.client(packet(3, string(encrypted)), 7)
	require.Equal(t, packet(2, login(asks, "secret\x00", "sha256_password")), backend)
	_, client = s.backend(packet(3, "\x00\x00\x00\x02\x00\x00\x00"))
	require.Equal(t, packet(4, "\x00\x00\x00\x02\x00\x00\x00"), client)
}

// What our key cannot decrypt ends the login.
func TestPasswordThatIsNotEncryptedWithOurKey(t *testing.T) {
	s := newSession(t, dialogue.Situation{Upgraded: true, Client: dialogue.Greeted, Kept: []byte(greets)})
	s.client(packet(1, login(begins, strings.Repeat("h", 32), "caching_sha2_password")), 100)
	s.backend(packet(3, "\x01\x04"))
	_, client := s.client(packet(3, "\x02"), 100)
	require.Contains(t, client, "-----BEGIN PUBLIC KEY-----")
	backend, client := s.client(packet(5, strings.Repeat("\x07", 256)), 100)
	require.Empty(t, backend)
	require.Equal(t, packet(6, "\xff\x13\x04#08S01Bad handshake"), client)
	require.True(t, s.x.Closed())
}
