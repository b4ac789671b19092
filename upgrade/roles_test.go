package upgrade

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A one is a listener that has one connection.
type one struct {
	net.Listener
	conn net.Conn
}

func (l *one) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}

// clientOf begins TLS with the first Read or Write.
func clientOf(raw net.Conn, config *tls.Config) *tls.Conn { return tls.Client(raw, config) }

// serverWays are how a server can be made of a connection, up to the end of the handshake.
var serverWays = map[string]func(raw net.Conn, p *Protocol, config *Config) (*Conn, error){
	"Accept": func(raw net.Conn, p *Protocol, config *Config) (*Conn, error) {
		return Accept(context.Background(), raw, p, config)
	},
	"NewListener": func(raw net.Conn, p *Protocol, config *Config) (*Conn, error) {
		conn, err := NewListener(&one{conn: raw}, p, config).Accept()
		if err != nil {
			return nil, err
		}
		return conn.(*Conn), conn.(*Conn).Negotiate(context.Background())
	},
}

// The line protocol upgrades as the others do where there is no backend that needs to be
// dialled early.
func TestLineServers(t *testing.T) {
	for name, serve := range serverWays {
		for _, reply := range []string{"", "GO AHEAD"} {
			inBubble(t, name+" "+reply, func(t *testing.T) {
				raw, rawClient := memPair()
				server, client := coreTLS()
				options := map[string]string{"command": "TLS PLEASE", "reply": reply}
				heard := make(chan string, 1)
				go func() {
					conn, err := Request(context.Background(), rawClient, Line, &Config{TLS: client, Options: options})
					if err != nil {
						heard <- err.Error()
						return
					}
					line, _ := conn.ReadLine()
					heard <- line
				}()
				conn, err := serve(raw, Line, &Config{TLS: server, Options: options})
				require.NoError(t, err)
				_, ok := conn.TLSConnectionState()
				require.True(t, ok)
				tell(t, conn, "inside\n")
				require.Equal(t, "inside", <-heard)
			})
		}
		for _, first := range []string{"PING\nSTARTTLS\n", "STARTTLS please\n", "starttls\n", "\n"} {
			inBubble(t, name+" "+first, func(t *testing.T) {
				raw, client := memPair()
				server, _ := coreTLS()
				tell(t, client, first)
				require.NoError(t, client.CloseWrite())
				conn, err := serve(raw, Line, &Config{TLS: server})
				require.ErrorIs(t, err, ErrPlaintext)
				_, err = conn.Read(make([]byte, 1))
				require.ErrorIs(t, err, ErrPlaintext)
				_, err = conn.Write([]byte("x"))
				require.ErrorIs(t, err, ErrPlaintext)
				require.Empty(t, client.in.take())
			})
		}
	}
}

// Where the upgrade is required, a client that says anything else first is refused, and
// the backend hears none of it.
func TestRequiredLine(t *testing.T) {
	for _, first := range []string{"PING\n", "STARTTLS please\n", "S\n", "starttls\n", "\n", "PING"} {
		inBubble(t, first, func(t *testing.T) {
			raw, client := memPair()
			server, _ := coreTLS()
			j, err := Join(context.Background(), raw, Line, &Config{TLS: server})
			require.NoError(t, err)
			backend := hear(j)
			tell(t, client, first)
			got, err := backend.total()
			require.Zero(t, got)
			require.Equal(t, io.EOF, err)
			require.NoError(t, client.Close())
		})
	}
	inBubble(t, "the command", func(t *testing.T) {
		raw, rawClient := memPair()
		server, client := coreTLS()
		j, err := Join(context.Background(), raw, Line, &Config{TLS: server})
		require.NoError(t, err)
		upgraded := false
		j.Upgraded = func() { upgraded = true }
		backend := hear(j)
		tell(t, rawClient, "STARTTLS\n")
		conn := clientOf(rawClient, client)
		tell(t, conn, "PING\n")
		require.Equal(t, "PING\n", backend.news())
		require.True(t, upgraded)
		require.NoError(t, rawClient.Close())
		synctest.Wait()
	})
}

// A role that a protocol does not have is ErrUnsupported for whoever asks for it, before
// anything is dialled, said or waited for.
func TestMissingRoles(t *testing.T) {
	ctx := context.Background()
	mute := &Protocol{Name: "mute", ErrorReply: func(*dialogue.Session, error) []byte { return []byte("words") }}
	early := &Protocol{Name: "early", EarlyDial: true, Accept: func(*dialogue.Session) error { return nil }}
	require.NotNil(t, Line.Join)
	for name, ask := range map[string]func(raw net.Conn) error{
		"Accept":  func(raw net.Conn) error { return second(Accept(ctx, raw, mute, nil)) },
		"Request": func(raw net.Conn) error { return second(Request(ctx, raw, mute, nil)) },
		"Join":    func(raw net.Conn) error { return second(Join(ctx, raw, mute, nil)) },
		"Dial":    func(net.Conn) error { return second(Dial(ctx, "no network", "nowhere", mute, nil)) },
		"NewListener": func(raw net.Conn) error {
			return second(NewListener(&one{conn: raw}, mute, nil).Accept())
		},
		"Accept, nil":             func(raw net.Conn) error { return second(Accept(ctx, raw, nil, nil)) },
		"Request, nil":            func(raw net.Conn) error { return second(Request(ctx, raw, nil, nil)) },
		"Dial, nil":               func(net.Conn) error { return second(Dial(ctx, "no network", "nowhere", nil, nil)) },
		"NewListener, nil":        func(raw net.Conn) error { return second(NewListener(&one{conn: raw}, nil, nil).Accept()) },
		"Join, early, no filter":  func(raw net.Conn) error { return second(Join(ctx, raw, early, nil)) },
		"Join, early, no TLS":     func(raw net.Conn) error { return second(Join(ctx, raw, Line, &Config{Passthrough: true})) },
		"Accept, read afterwards": func(raw net.Conn) error { return readAfter(Accept(ctx, raw, mute, nil)) },
		"Join, read afterwards":   func(raw net.Conn) error { return readAfter(Join(ctx, raw, early, nil)) },
	} {
		inBubble(t, name, func(t *testing.T) {
			raw, client := memPair()
			require.ErrorIs(t, ask(raw), ErrUnsupported)
			require.Empty(t, client.in.take())
			require.False(t, client.in.ended)
		})
	}
}

func second[T any](_ T, err error) error { return err }

// readAfter is what a Read says that takes no notice of the error before.
func readAfter[T io.Reader](conn T, err error) error {
	if err == nil {
		return errors.New("no error")
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}
