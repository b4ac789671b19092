package rdp_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/rdp"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, rdp.Protocol) }

func TestMatch(t *testing.T) {
	const negotiation = "\x01\x00\x08\x00\x03\x00\x00\x00"
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00"+negotiation)
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x00\x27\x22\xe0\x00\x00\x12\x34\x00Cookie: mstshash=u\r\n"+negotiation)
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x00\x37\x32\xe0\x00\x00\x00\x00\x00\x01\x08\x08\x00\x01\x00\x00\x00") // with correlation info
	dialoguetest.Match(t, rdp.Protocol, "\x03\x00\x01\x03\xfe\xe0\x00\x00\x00\x00\x00x\r\n"+negotiation)
	for name, bytes := range map[string]string{
		"another TPKT version":  "\x02",
		"reserved":              "\x03\x01",
		"large":                 "\x03\x00\x02",
		"larger than X.224":     "\x03\x00\x01\x04",
		"no room to negotiate":  "\x03\x00\x00\x12",
		"lengths differ":        "\x03\x00\x00\x13\x0d",
		"Data TPDU":             "\x03\x00\x00\x13\x0e\xf0",
		"credit":                "\x03\x00\x00\x13\x0e\xe1",
		"to a reference":        "\x03\x00\x00\x13\x0e\xe0\x00\x01",
		"class 4":               "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x40",
		"TSAP parameter":        "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00\xc1\x02",
		"control in the cookie": "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00Cookie: \x01",
		"bare CR":               "\x03\x00\x00\x27\x22\xe0\x00\x00\x00\x00\x00C\rx",
		"cookie without an end": "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00Cookie: ",
		"cookie and nothing":    "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00C: xyz\r\n",
		"another structure":     "\x03\x00\x00\x15\x10\xe0\x00\x00\x00\x00\x00\r\n\x02",
		"of another length":     "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x09",
		"standard RDP security": "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\x00",
		"ClientHello":           "\x16",
		"HTTP":                  "G",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, rdp.Protocol, bytes) })
	}
}

// requestedFor returns what a server is asked with for a client that says something, and what the client then hears. The
// server does not answer.
func requestedFor(t *testing.T, client string, passthrough bool) (asked, heard string) {
	t.Helper()
	raw, server := net.Pipe()
	rawClient, waiting := net.Pipe()
	hearing := make(chan string, 2)
	hear := func(conn net.Conn) {
		said, err := io.ReadAll(conn)
		assert.NoError(t, err)
		hearing <- string(said)
	}
	go func() {
		config := &upgrade.Config{TLS: &tls.Config{InsecureSkipVerify: true}, Passthrough: passthrough, NegotiationTimeout: time.Second}
		conn, err := upgrade.RequestFor(context.Background(), raw, rawClient, rdp.Protocol, config)
		assert.Error(t, err)
		assert.NoError(t, raw.Close())
		conn.RejectClient(err)
		assert.NoError(t, rawClient.Close())
	}()
	go func() { _, _ = io.WriteString(waiting, client) }()
	hear(server)
	hear(waiting)
	return <-hearing, <-hearing
}

// A server is asked with the client's cookie or routing token, its reference, and nothing else of it.
func TestRequestForAClient(t *testing.T) {
	const (
		cookie     = "Cookie: mstshash=alice\r\n"
		ssl        = "\x01\x00\x08\x00\x01\x00\x00\x00"
		disconnect = "\x03\x00\x00\x0b\x06\x80\x00\x00\x00\x00\x00"
	)
	for _, c := range []struct{ name, client, asks string }{
		{"nothing", "\x03\x00\x00\x0b\x06\xe0\x00\x00\x00\x00\x00", "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00" + ssl},
		{"a cookie", "\x03\x00\x00\x23\x1e\xe0\x00\x00\x43\x21\x00" + cookie, "\x03\x00\x00\x2b\x26\xe0\x00\x00\x43\x21\x00" + cookie + ssl},
		{
			"a cookie, RESTRICTED_ADMIN and CredSSP", "\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00" + cookie + "\x01\x01\x08\x00\x0b\x00\x00\x00",
			"\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00" + cookie + ssl,
		},
		{"the longest", "\x03\x00\x00\xfb\xf6\xe0\x00\x00\x00\x00\x00" + strings.Repeat("x", 238) + "\r\n", "\x03\x00\x01\x03\xfe\xe0\x00\x00\x00\x00\x00" + strings.Repeat("x", 238) + "\r\n" + ssl},
		{"no room for more", "\x03\x00\x00\xfc\xf7\xe0\x00\x00\x00\x00\x00" + strings.Repeat("x", 239) + "\r\n", ""},
		{"another protocol", "GET / HTTP/1.1\r\n\r\n", ""},
		{"a request in the cookie", "\x03\x00\x00\x1f\x1a\xe0\x00\x00\x00\x00\x00C: a" + ssl + "\r\n" + "\x00\x00\x00\x00\x00\x00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, heard := requestedFor(t, c.client, false)
				require.Equal(t, c.asks, asked)
				require.Equal(t, disconnect, heard)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		asked, _ := requestedFor(t, "\x16\x03\x01", true)
		require.Equal(t, "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00"+ssl, asked, "TLS that is passed through")
	})
}
