package upgrade

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// askedForTLS has a client ask for the upgrade, up to the go-ahead, and a server that
// leaves TLS to others accept it.
func askedForTLS(t *testing.T, p *Protocol, accept func(raw net.Conn, config *Config)) (client *memConn) {
	t.Helper()
	raw, client := memPair()
	go accept(raw, &Config{Hostname: testHost, Passthrough: true})
	_, err := Request(context.Background(), client, p, &Config{Hostname: "client.example", Passthrough: true, TLS: &tls.Config{ServerName: testHost, MinVersion: tls.VersionTLS12}})
	require.NoError(t, err)
	synctest.Wait()
	return client
}

// passthroughWays are those of a server that leaves TLS to others.
var passthroughWays = map[string]func(raw net.Conn, p *Protocol, config *Config) (net.Conn, error){
	"Accept": func(raw net.Conn, p *Protocol, config *Config) (net.Conn, error) {
		return Accept(context.Background(), raw, p, config)
	},
	"Join": func(raw net.Conn, p *Protocol, config *Config) (net.Conn, error) {
		return Join(context.Background(), raw, p, config)
	},
}

// eachPassthrough runs a test for each way and each protocol.
func eachPassthrough(t *testing.T, test func(t *testing.T, p *Protocol, accept func(net.Conn, *Config) (net.Conn, error))) {
	t.Helper()
	for way, accept := range passthroughWays {
		for _, p := range protocols {
			if way == "Join" && p.EarlyDial {
				continue // TestMissingRoles
			}
			inBubble(t, p.Name+" "+way, func(t *testing.T) {
				test(t, p, func(raw net.Conn, config *Config) (net.Conn, error) { return accept(raw, p, config) })
			})
		}
	}
}

// Behind the go-ahead a client has the time of a handshake to begin it.
func TestPassthroughWaitsForTheHandshake(t *testing.T) {
	eachPassthrough(t, func(t *testing.T, p *Protocol, accept func(net.Conn, *Config) (net.Conn, error)) {
		done := make(chan error, 1)
		client := askedForTLS(t, p, func(raw net.Conn, config *Config) {
			_, err := accept(raw, config)
			done <- err
		})
		time.Sleep(DefaultHandshakeTimeout - time.Second)
		synctest.Wait()
		require.Empty(t, done)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.NotEmpty(t, done)
		err := <-done
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, dialogue.ErrHandshake)
		require.Empty(t, client.in.take(), "not a byte of plaintext follows")
	})
}

// One that goes on in plaintext is let go, without a word.
func TestPassthroughTakesNothingButTLS(t *testing.T) {
	for _, first := range []string{"NOOP\r\n", "\x15\x03\x03\x00\x02", "\x00", "\x80\x2e\x01"} {
		eachPassthrough(t, func(t *testing.T, p *Protocol, accept func(net.Conn, *Config) (net.Conn, error)) {
			done := make(chan error, 1)
			var conn net.Conn
			client := askedForTLS(t, p, func(raw net.Conn, config *Config) {
				var err error
				conn, err = accept(raw, config)
				done <- err
			})
			tell(t, client, first)
			require.ErrorIs(t, <-done, ErrNotTLS)
			_, err := conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, ErrNotTLS)
			_, err = conn.Write([]byte("words"))
			require.ErrorIs(t, err, ErrNotTLS)
			if j, ok := conn.(*Joined); ok {
				j.Returned(err)
			}
			require.Empty(t, client.in.take(), "not a byte of plaintext follows")
		})
	}
}

// What a client begins TLS with is left for whoever terminates it, whole.
func TestPassthroughLeavesTheClientHello(t *testing.T) {
	said := new(helloTaker)
	require.ErrorIs(t, tls.Client(said, &tls.Config{ServerName: testHost, MinVersion: tls.VersionTLS12}).Handshake(), errTaken)
	for _, cut := range []int{1, 5, len(said.hello)} {
		eachPassthrough(t, func(t *testing.T, p *Protocol, accept func(net.Conn, *Config) (net.Conn, error)) {
			got := make(chan []byte, 1)
			client := askedForTLS(t, p, func(raw net.Conn, config *Config) {
				conn, err := accept(raw, config)
				if err != nil {
					t.Error(err)
				}
				all, err := io.ReadAll(conn)
				if err != nil {
					t.Error(err)
				}
				got <- all
			})
			hello := string(inPackets(p, said.hello))
			tell(t, client, hello[:cut])
			time.Sleep(time.Hour) // no deadline is left of ours
			tell(t, client, hello[cut:]+"more")
			require.NoError(t, client.CloseWrite())
			require.Equal(t, hello+"more", string(<-got))
		})
	}
}

// What has come with the request, where the protocol has no go-ahead, is left too.
func TestPassthroughLeavesAnEarlyClientHello(t *testing.T) {
	inBubble(t, "line", func(t *testing.T) {
		raw, client := memPair()
		tell(t, client, "STARTTLS\n\x16\x03\x01rest")
		require.NoError(t, client.CloseWrite())
		conn, err := Accept(context.Background(), raw, Line, &Config{Passthrough: true})
		require.NoError(t, err)
		all, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.True(t, bytes.Equal([]byte("\x16\x03\x01rest"), all))
	})
}

// The context ends the wait, too.
func TestContextEndsPassthrough(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		client := askedForTLS(t, SMTP, func(raw net.Conn, config *Config) {
			done <- second(Accept(ctx, raw, SMTP, config))
		})
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Empty(t, client.in.take())
	})
}
