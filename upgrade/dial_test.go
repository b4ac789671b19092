package upgrade

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// dialTo dials a server that a test plays on the connection below.
func dialTo(ctx context.Context, t *testing.T, config Config, server func(raw net.Conn)) (*Conn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ln.Close()
		raw, err := ln.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		server(raw)
	}()
	t.Cleanup(func() { <-done })
	_, config.TLS = testTLS()
	conn, err := Dial(ctx, "tcp", ln.Addr().String(), SMTP, &config)
	if err != nil {
		_ = ln.Close() // it may not have come to Accept
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	return conn, nil
}

// stall says its lines, and reads what the client says to each, but the last that it
// reads it does not answer. It tells when it is there, and waits for the client to go.
func stall(t *testing.T, raw net.Conn, at chan<- struct{}, lines ...string) {
	for _, line := range lines {
		_, _ = io.WriteString(raw, line)
		if _, err := raw.Read(make([]byte, 4096)); err != nil {
			break // the client's time was over before
		}
	}
	close(at)
	if _, err := io.Copy(io.Discard, raw); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the client did not close what it had opened")
	}
}

// stalls are the places in which a server can leave a client waiting.
var stalls = map[string][]string{
	"no greeting":                nil,
	"no answer to EHLO":          {"220 mail.example.com\r\n"},
	"no consent":                 {"220 mail.example.com\r\n", "250-mail.example.com\r\n250 STARTTLS\r\n"},
	"no answer to the handshake": {"220 mail.example.com\r\n", "250-mail.example.com\r\n250 STARTTLS\r\n", "220 go\r\n"},
}

func TestContextEndsDial(t *testing.T) {
	for name, lines := range stalls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			at := make(chan struct{})
			go func() {
				<-at
				cancel()
			}()
			_, err := dialTo(ctx, t, Config{}, func(raw net.Conn) { stall(t, raw, at, lines...) })
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

func TestContextsDeadlineEndsDial(t *testing.T) {
	for name, lines := range stalls {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := dialTo(ctx, t, Config{}, func(raw net.Conn) { stall(t, raw, make(chan struct{}), lines...) })
			require.ErrorIs(t, err, context.DeadlineExceeded)
			<-ctx.Done()
		})
	}
}

func TestTimeoutsEndDial(t *testing.T) {
	config := Config{NegotiationTimeout: 200 * time.Millisecond, HandshakeTimeout: 200 * time.Millisecond}
	for name, lines := range stalls {
		t.Run(name, func(t *testing.T) {
			_, err := dialTo(t.Context(), t, config, func(raw net.Conn) { stall(t, raw, make(chan struct{}), lines...) })
			require.True(t, errors.Is(err, ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded), "%v", err)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// lateConn sets its first deadline only when another one has been set meanwhile.
type lateConn struct {
	net.Conn
	cancel func()
	once   sync.Once
	ended  chan struct{}
}

func (c *lateConn) SetDeadline(t time.Time) error {
	if t.Equal(longAgo) {
		defer close(c.ended)
		return c.Conn.SetDeadline(t)
	}
	c.once.Do(func() {
		c.cancel()
		<-c.ended
	})
	return c.Conn.SetDeadline(t)
}

// A context that ends while a deadline is being set is not forgotten over it.
func TestContextEndsBeforeTheDeadlineIsSet(t *testing.T) {
	for name, play := range map[string]func(context.Context, net.Conn) error{
		"client": func(ctx context.Context, raw net.Conn) error {
			_, err := Request(ctx, raw, SMTP, nil)
			return err
		},
		"server": func(ctx context.Context, raw net.Conn) error {
			_, err := Accept(ctx, raw, LDAP, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			defer there.Close()
			ctx, cancel := context.WithCancel(t.Context())
			err := play(ctx, &lateConn{Conn: here, cancel: cancel, ended: make(chan struct{})})
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

// A package that dials itself, with a name, has the name verified and gets what Dial returns.
func TestDialer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 2 {
			raw, err := ln.Accept()
			if err != nil {
				return
			}
			serverTLS, _ := testTLS()
			if conn, err := Accept(t.Context(), raw, SMTP, &Config{TLS: serverTLS}); err == nil {
				echo(conn)
			}
			raw.Close()
		}
	}()
	below := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	_, clientTLS := testTLS()
	d := &Dialer{Protocol: SMTP, NetDialer: below, Config: &Config{TLS: clientTLS}}
	conn, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.2", conn.LocalAddr().(*net.TCPAddr).IP.String())
	requireEchoes(t, conn.(*Conn))
	require.NoError(t, conn.Close())

	unnamed := clientTLS.Clone()
	unnamed.ServerName = ""
	d.Config = &Config{TLS: unnamed}
	conn, err = d.DialContext(t.Context(), "tcp", ln.Addr().String())
	require.ErrorContains(t, err, "127.0.0.1")
	require.True(t, conn == nil, "no interface with a nil *Conn in it")
	<-done

	_, err = new(Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	require.ErrorIs(t, err, ErrUnsupported)
}

// Client software that wants a greeting gets one that names the verified server.
func TestGreet(t *testing.T) {
	conn, err := dialTo(t.Context(), t, Config{}, upgraded(t, func(conn *Conn) {
		_, _ = conn.Write([]byte("250 from the server\r\n"))
	}))
	require.NoError(t, err)
	require.NoError(t, conn.Greet())
	line, err := conn.ReadLine()
	require.NoError(t, err)
	require.Equal(t, "220 "+testHost+" ESMTP", line)
	line, err = conn.ReadLine()
	require.NoError(t, err)
	require.Equal(t, "250 from the server", line)
}

// upgraded is a server that does its part and then what serve does.
func upgraded(t *testing.T, serve func(conn *Conn)) func(raw net.Conn) {
	return func(raw net.Conn) {
		serverTLS, _ := testTLS()
		conn, err := Accept(t.Context(), raw, SMTP, &Config{TLS: serverTLS, Hostname: testHost})
		if err != nil {
			t.Error(err)
			return
		}
		serve(conn)
	}
}

func echo(conn *Conn) { _, _ = io.Copy(conn, conn) }

// The context is for dialling. What comes of it afterwards is nothing to the connection.
func TestDialledConnectionOutlivesItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	conn, err := dialTo(ctx, t, Config{NegotiationTimeout: 10 * time.Second}, upgraded(t, echo))
	require.NoError(t, err)
	cancel()
	requireEchoes(t, conn)
	require.NoError(t, conn.Close())
}

func requireEchoes(t *testing.T, conn *Conn) {
	t.Helper()
	_, err := io.WriteString(conn, "hello\n")
	require.NoError(t, err)
	line, err := conn.ReadLine()
	require.NoError(t, err)
	require.Equal(t, "hello", line)
}

// A read that ran into its deadline can be tried again.
func TestReadDeadlineOverTLS(t *testing.T) {
	conn, err := dialTo(t.Context(), t, Config{}, upgraded(t, echo))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	requireEchoes(t, conn)
	require.NoError(t, conn.Close())
}

// A write that ran into its deadline may have sent half a record, so it cannot.
func TestWriteDeadlineOverTLS(t *testing.T) {
	done := make(chan struct{})
	conn, err := dialTo(t.Context(), t, Config{}, upgraded(t, func(*Conn) { <-done }))
	require.NoError(t, err)
	defer close(done)
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	chunk := make([]byte, 1<<20)
	for err == nil { // until nothing more fits in between
		_, err = conn.Write(chunk)
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, conn.SetWriteDeadline(time.Now().Add(20*time.Second)))
	_, err = conn.Write([]byte("more"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestCloseSendsCloseNotify(t *testing.T) {
	got := make(chan error, 1)
	conn, err := dialTo(t.Context(), t, Config{}, upgraded(t, func(conn *Conn) {
		_, err := conn.Read(make([]byte, 1))
		got <- err
	}))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, io.EOF, <-got)
}

// What a server sends before it ends is read whole; how it ended is told then.
func TestEndsOfDialledConnections(t *testing.T) {
	for name, end := range map[string]struct {
		end  func(conn *Conn) error
		want error
	}{
		"close_notify":         {(*Conn).Close, nil},
		"close_notify of half": {(*Conn).CloseWrite, nil},
		"between records":      {func(conn *Conn) error { return conn.NetConn().Close() }, ErrTruncated},
		"in a record": {func(conn *Conn) error {
			_, err := conn.NetConn().Write([]byte{0x17, 3, 3, 1, 0, 1, 2, 3})
			return errors.Join(err, conn.NetConn().Close())
		}, ErrTruncated},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dialTo(t.Context(), t, Config{}, upgraded(t, func(conn *Conn) {
				_, err := io.WriteString(conn, "all that there is")
				if err := errors.Join(err, end.end(conn)); err != nil {
					t.Error(err)
				}
			}))
			require.NoError(t, err)
			text, err := io.ReadAll(conn)
			require.Equal(t, "all that there is", string(text))
			require.ErrorIs(t, err, end.want)
		})
	}
}

// The two phases can be had one at a time.
func TestPassthroughThenStartTLS(t *testing.T) {
	_, clientTLS := testTLS()
	here, there := net.Pipe()
	defer there.Close()
	go upgraded(t, func(conn *Conn) { _, _ = conn.Write([]byte("250 inside\r\n")) })(there)
	conn, err := Request(t.Context(), here, SMTP, &Config{TLS: clientTLS, Passthrough: true})
	require.NoError(t, err)
	_, ok := conn.TLSConnectionState()
	require.False(t, ok)
	require.NoError(t, conn.StartTLS(t.Context()))
	line, err := conn.ReadLine()
	require.NoError(t, err)
	require.Equal(t, "250 inside", line)
}
