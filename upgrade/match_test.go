package upgrade

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// requireMatch asserts that a request is recognized with its last octet, not
// before and not after, whatever follows.
func requireMatch(t *testing.T, p *Protocol, request string) {
	for n := range len(request) {
		require.Equal(t, NeedMore, p.Match([]byte(request[:n])), "%q", request[:n])
	}
	require.Equal(t, Matched, p.Match([]byte(request)), "%q", request)
	require.Equal(t, Matched, p.Match([]byte(request+"\x00")), "%q", request)
}

// requireNoMatch asserts that bytes are refused with the last of them, and that
// this is final.
func requireNoMatch(t *testing.T, p *Protocol, bytes string) {
	last := len(bytes) - 1
	require.Equal(t, NeedMore, p.Match([]byte(bytes[:last])), "%q", bytes[:last])
	require.Equal(t, NoMatch, p.Match([]byte(bytes)), "%q", bytes)
	require.Equal(t, NoMatch, p.Match([]byte(bytes+"\x00")), "%q", bytes)
}

func TestMatchPostgres(t *testing.T) {
	requireMatch(t, Postgres, "\x00\x00\x00\x08\x04\xd2\x16\x2f")
	requireMatch(t, Postgres, "\x00\x00\x00\x08\x04\xd2\x16\x30")
	for name, bytes := range map[string]string{
		"CancelRequest":      "\x00\x00\x00\x10",
		"StartupMessage":     "\x00\x00\x00\x21",
		"empty one":          "\x00\x00\x00\x08\x00",
		"another request":    "\x00\x00\x00\x08\x04\xd2\x16\x31",
		"ClientHello":        "\x16",
		"little endian":      "\x08",
		"HTTP":               "G",
		"SSLRequest, longer": "\x00\x00\x00\x09",
	} {
		t.Run(name, func(t *testing.T) { requireNoMatch(t, Postgres, bytes) })
	}
}

func TestMatchLDAP(t *testing.T) {
	const oid = "1.3.6.1.4.1.1466.20037"
	requireMatch(t, LDAP, "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"+oid)
	requireMatch(t, LDAP, "\x30\x20\x02\x04\x7f\xff\xff\xff\x77\x18\x80\x16"+oid)
	requireMatch(t, LDAP, "\x30\x84\x00\x00\x00\x25\x02\x01\x01\x77\x84\x00\x00\x00\x1c\x80\x84\x00\x00\x00\x16"+oid)
	requireMatch(t, LDAP, "\x30\x81\x2f\x02\x01\x01\x77\x18\x80\x16"+oid) // with controls
	for name, bytes := range map[string]string{
		"bind":                "\x30\x1d\x02\x01\x01\x60",
		"search":              "\x30\x25\x02\x01\x01\x63",
		"too short a message": "\x30\x1c",
		"another OID":         "\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20036",
		"longer OID":          "\x30\x1e\x02\x01\x01\x77\x19\x80\x17",
		"with a value":        "\x30\x1f\x02\x01\x01\x77\x1a\x80\x16",
		"request overruns":    "\x30\x1d\x02\x02\x01\x01\x77\x18",
		"name overruns":       "\x30\x24\x02\x01\x01\x77\x18\x80\x84\x00\x00\x00\x16",
		"no messageID":        "\x30\x1d\x02\x00",
		"long messageID":      "\x30\x22\x02\x05",
		"negative messageID":  "\x30\x1d\x02\x01\xff",
		"indefinite length":   "\x30\x80",
		"nine octets":         "\x30\x89",
		"gigabytes":           "\x30\x84\xff\xff\xff\xff",
		"ClientHello":         "\x16",
		"HTTP":                "G",
	} {
		t.Run(name, func(t *testing.T) { requireNoMatch(t, LDAP, bytes) })
	}
}
