package upgrade

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

const (
	xmppOpens    = "<stream:stream to='mail.example.com' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
	proceed      = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	xmppStartTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
)

// A blankClient asks for the upgrade with blanks behind the request, and behind the go-ahead.
type blankClient struct {
	behind  string   // in the same segment as the request
	goAhead string   // what the answer contains
	then    []string // segments behind the go-ahead
	tls     bool     // and then it begins TLS
}

// play is what the client does. It returns what it has heard in plaintext behind the features.
func (b blankClient) play(t *testing.T, conn net.Conn, config *tls.Config) string {
	t.Helper()
	awaits(t, conn, xmppOpens, "</stream:features>")
	heard := awaits(t, conn, xmppStartTLS+b.behind, b.goAhead)
	for _, segment := range b.then {
		_, err := io.WriteString(conn, segment)
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond) // or it may be the same segment
	}
	if b.tls {
		require.NoError(t, tls.Client(conn, config).Handshake())
		return heard
	}
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	rest, err := io.ReadAll(conn)
	require.NoError(t, err)
	return heard + string(rest)
}

// awaits says something, and reads until something was heard.
func awaits(t *testing.T, conn net.Conn, says, until string) (heard string) {
	t.Helper()
	_, err := io.WriteString(conn, says)
	require.NoError(t, err)
	for b := make([]byte, 1); !strings.Contains(heard, until); {
		_, err := io.ReadFull(conn, b)
		require.NoError(t, err, "after %q", heard)
		heard += string(b)
	}
	return heard
}

var goodBlanks = map[string]blankClient{
	"none":                        {"", proceed, nil, true},
	"one behind the request":      {"\n", proceed, nil, true},
	"of all kinds":                {" \t\r\n", proceed, nil, true},
	"16 behind the request":       {strings.Repeat(" ", 16), proceed, nil, true},
	"one behind the go-ahead":     {"", proceed, []string{"\n"}, true},
	"16 behind the go-ahead":      {"", proceed, []string{strings.Repeat("\r\n", 8)}, true},
	"in several segments":         {" ", proceed, []string{"\t", "\r\n", " "}, true},
	"16 on both sides altogether": {strings.Repeat(" ", 9), proceed, []string{strings.Repeat(" ", 3), strings.Repeat(" ", 4)}, true},
}

// A client of go-xmpp sends a few blanks behind its request, and some send them behind the
// go-ahead.
func TestBlanksBehindTheRequest(t *testing.T) {
	serverTLS, clientTLS := testkit.TLSConfigs(testHost)
	for name, b := range goodBlanks {
		for _, passthrough := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				server, client := testkit.TCPPair(t)
				accepted := make(chan error, 1)
				go func() {
					config := &Config{TLS: serverTLS, Hostname: testHost, Passthrough: passthrough}
					conn, err := Accept(context.Background(), server, XMPP, config)
					if err == nil && passthrough {
						err = tls.Server(conn, serverTLS).Handshake()
					}
					accepted <- err
				}()
				b.play(t, client, clientTLS)
				require.NoError(t, <-accepted)
			})
		}
	}
}

// Everything else between the two is what it was: a violation, as is one blank too many.
func TestOnlyBlanksBehindTheRequest(t *testing.T) {
	serverTLS, _ := testkit.TLSConfigs(testHost)
	hello := "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"
	for name, b := range map[string]blankClient{
		"17 behind the request":              {strings.Repeat(" ", 17), "</stream:stream>", nil, false},
		"17 behind the go-ahead":             {"", proceed, []string{strings.Repeat("\n", 17)}, false},
		"17 altogether":                      {strings.Repeat(" ", 9), proceed, []string{strings.Repeat(" ", 8)}, false},
		"17 in single segments":              {"", proceed, strings.Split(strings.Repeat(" ", 17), ""), false},
		"another stream":                     {" \n<stream", "</stream:stream>", nil, false},
		"another stream behind the go-ahead": {"\n", proceed, []string{" ", "<stream:stream>"}, false},
		"a ClientHello behind blanks":        {" \n" + hello, "</stream:stream>", nil, false},
		"a ClientHello":                      {hello, "</stream:stream>", nil, false},
		"NUL":                                {"\x00", "</stream:stream>", nil, false},
		"vertical tab":                       {"\v", "</stream:stream>", nil, false},
		"no-break space":                     {"\u00a0", "</stream:stream>", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, client := testkit.TCPPair(t)
			accepted := make(chan error, 1)
			go func() {
				_, err := Accept(context.Background(), server, XMPP, &Config{TLS: serverTLS, Hostname: testHost})
				_ = server.Close()
				accepted <- err
			}()
			heard := b.play(t, client, nil)
			want := dialogue.ErrPipelined
			if b.goAhead == proceed {
				want = dialogue.ErrNotTLS
			}
			require.ErrorIs(t, <-accepted, want)
			require.Equal(t, b.goAhead == proceed, strings.Contains(heard, proceed), heard)
		})
	}
}

// No other protocol has them, and no server's go-ahead.
func TestNobodyElseSendsBlanks(t *testing.T) {
	for _, p := range protocols {
		require.Equal(t, strings.HasPrefix(p.Name, "xmpp"), p.BlanksBehindRequest, p.Name)
	}
	server, client := testkit.TCPPair(t)
	go func() {
		_, _ = server.Read(make([]byte, 1<<10))
		_, _ = io.WriteString(server, "<?xml version='1.0'?>"+xmppOpens+"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>")
		_, _ = server.Read(make([]byte, 1<<10))
		_, _ = io.WriteString(server, proceed+" ")
		_ = server.Close()
	}()
	_, err := Request(context.Background(), client, XMPP, &Config{TLS: &tls.Config{ServerName: testHost}})
	require.ErrorIs(t, err, ErrPipelined)
}
