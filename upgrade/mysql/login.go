package mysql

import (
	"bytes"
	"encoding/binary"
)

// sslRequestSize is the size of an SSLRequest's payload: the beginning of a login, up to the
// user.
const sslRequestSize = 4 + 4 + 1 + 23

// A login is the payload of a client's HandshakeResponse41, or its beginning.
type login struct {
	capabilities uint32
	plugin       string // that the client has answered the challenge with
	auth         []byte // its answer, a part of the payload
	authAt       int    // where the answer's length is
	authEnd      int
}

// clientCapabilities are those that a client's first packet begins with, of which there are
// four octets.
func clientCapabilities(payload []byte) uint32 { return binary.LittleEndian.Uint32(payload) }

// parseLogin reads a login as a server with the given capabilities does. Of a long one the
// beginning is enough: connection attributes are at the end.
func parseLogin(payload []byte, server uint32) (l login, ok bool) {
	if len(payload) <= sslRequestSize {
		return l, false
	}
	l = login{capabilities: clientCapabilities(payload), plugin: nativePassword}
	common := l.capabilities & server
	user := bytes.IndexByte(payload[sslRequestSize:], 0)
	if common&protocol41 == 0 || user < 0 {
		return l, false
	}
	l.authAt = sslRequestSize + user + 1
	if !l.readAuth(payload, common) {
		return l, false
	}
	rest := payload[l.authEnd:]
	if common&connectWithDB != 0 {
		_, rest, _ = bytes.Cut(rest, []byte{0})
	}
	if common&pluginAuth != 0 {
		name, _, _ := bytes.Cut(rest, []byte{0})
		l.plugin = string(name)
	}
	return l, true
}

// readAuth finds the answer to the challenge: behind a length, or up to a zero.
func (l *login) readAuth(payload []byte, common uint32) bool {
	rest := payload[l.authAt:]
	size, at := 0, 1
	switch {
	case len(rest) == 0:
		return false
	case common&lengthEncoded != 0 && rest[0] == 0xfc && len(rest) >= 3:
		size, at = int(binary.LittleEndian.Uint16(rest[1:])), 3
	case common&lengthEncoded != 0 && rest[0] > 0xfa:
		return false
	case common&(lengthEncoded|secureConnection) != 0:
		size = int(rest[0])
	default:
		size, at = bytes.IndexByte(rest, 0), 0
	}
	if size < 0 || at+size > len(rest) {
		return false
	}
	l.auth, l.authEnd = rest[at:at+size], l.authAt+at+size
	return true
}

// withAuth is the payload with another answer, of less than 251 octets.
func (l *login) withAuth(payload, answer []byte) []byte {
	edited := append(bytes.Clone(payload[:l.authAt]), byte(len(answer))) //nolint:gosec // see above
	return append(append(edited, answer...), payload[l.authEnd:]...)
}

// setTLS sets or clears the flag that asks a server for TLS.
func setTLS(payload []byte, tls bool) {
	capabilities := clientCapabilities(payload) &^ offersTLS
	if tls {
		capabilities |= offersTLS
	}
	putCapabilities(payload, capabilities)
}

func putCapabilities(payload []byte, capabilities uint32) {
	binary.LittleEndian.PutUint32(payload, capabilities)
}

// Plugins that are known here, each by the client's name.
const (
	nativePassword = "mysql_native_password" //nolint:gosec // a name
	cachingSHA2    = "caching_sha2_password"
	sha256Password = "sha256_password"
)

// answersChallenge has the plugins of clients that answer a challenge, or encrypt the password, and
// never send it as it is on a connection without TLS.
var answersChallenge = map[string]bool{
	"": true, nativePassword: true, "mysql_old_password": true, cachingSHA2: true, sha256Password: true,
	"client_ed25519": true, "parsec": true, "auth_gssapi_client": true, "auth_socket": true, "unix_socket": true,
	"authentication_kerberos_client": true, "authentication_fido_client": true, "authentication_webauthn_client": true,
	"authentication_ldap_sasl_client": true, "authentication_oci_client": true,
}

// isEncrypted reports whether an answer is none that has the password in it as it is: one
// octet that asks for the server's key, or as many octets as a key of RSA has, and no text
// with a zero behind it.
func isEncrypted(answer []byte) bool {
	if len(answer) <= 1 {
		return true
	}
	text, ended := bytes.CutSuffix(answer, []byte{0})
	isText := ended && !bytes.ContainsFunc(text, func(r rune) bool { return r < ' ' })
	return len(answer) >= 128 && len(answer)%64 == 0 && !isText
}

// wantsKey reports whether the answer is a wish for the server's key.
func (l *login) wantsKey() bool {
	return l.plugin == sha256Password && len(l.auth) == 1 && l.auth[0] == sha256WantsKey
}
