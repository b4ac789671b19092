package upgrade

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

const testHost = "mail.example.com"

// testTLS makes the two sides' configurations around a fresh certificate.
var testTLS = sync.OnceValues(func() (server, client *tls.Config) { return testkit.TLSConfigs(testHost) })

func connPair(t testing.TB) (server, client *Conn) {
	rawServer, rawClient := testkit.TCPPair(t)
	serverTLS, clientTLS := testTLS()
	return Server(rawServer, &Config{TLS: serverTLS}), Client(rawClient, &Config{TLS: clientTLS})
}

// startBoth upgrades both ends and returns the server's and the client's error.
func startBoth(server, client *Conn) (serverErr, clientErr error) {
	done := make(chan error, 1)
	go func() { done <- client.StartTLS(context.Background()) }()
	serverErr = server.StartTLS(context.Background())
	return serverErr, <-done
}

func mustStartBoth(t testing.TB, server, client *Conn) {
	serverErr, clientErr := startBoth(server, client)
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)
}

func TestStartTLSUpgradesInPlace(t *testing.T) {
	server, client := connPair(t)
	_, err := client.Write([]byte("STARTTLS\n"))
	require.NoError(t, err)
	line, err := server.ReadLine()
	require.NoError(t, err)
	require.Equal(t, "STARTTLS", line)
	_, ok := server.TLSConnectionState()
	require.False(t, ok)

	mustStartBoth(t, server, client)
	state, ok := server.TLSConnectionState()
	require.True(t, ok)
	require.Equal(t, testHost, state.ServerName)
	_, err = client.Write([]byte("one\r\ntwo\r\nrest"))
	require.NoError(t, err)
	for _, want := range []string{"one", "two"} {
		line, err = server.ReadLine()
		require.NoError(t, err)
		require.Equal(t, want, line)
	}
	rest := make([]byte, 4)
	_, err = io.ReadFull(server, rest)
	require.NoError(t, err)
	require.Equal(t, "rest", string(rest))
}

func TestStartTLSRefusesPlaintextBehindTheRequest(t *testing.T) {
	server, client := connPair(t)
	_, err := client.Write([]byte("STARTTLS\nINJECTED\n"))
	require.NoError(t, err)
	_, err = server.ReadLine()
	require.NoError(t, err)
	require.ErrorIs(t, server.StartTLS(context.Background()), ErrPipelined)
	_, err = server.Read(make([]byte, 16))
	require.ErrorIs(t, err, ErrPipelined, "what was injected is never delivered")
	_, err = server.Write([]byte("x"))
	require.ErrorIs(t, err, ErrPipelined, "and nothing is sent in plaintext")
}

func TestClientRefusesPlaintextBehindTheGoAhead(t *testing.T) {
	server, client := connPair(t)
	_, err := server.Write([]byte("GO\nINJECTED\n"))
	require.NoError(t, err)
	_, err = client.ReadLine()
	require.NoError(t, err)
	require.ErrorIs(t, client.StartTLS(context.Background()), ErrPipelined)
}

func TestServerTakesAnEarlyClientHello(t *testing.T) {
	rawServer, rawClient := testkit.TCPPair(t)
	serverTLS, clientTLS := testTLS()
	server := Server(rawServer, &Config{TLS: serverTLS})
	_, err := rawClient.Write([]byte("STARTTLS\n"))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- tls.Client(rawClient, clientTLS).Handshake() }()
	time.Sleep(50 * time.Millisecond) // so that most of the time both arrive in one read
	_, err = server.ReadLine()
	require.NoError(t, err)
	require.NoError(t, server.StartTLS(context.Background()))
	require.NoError(t, <-done)
}

func TestPeerThatGoesOnInClear(t *testing.T) {
	server, client := connPair(t)
	go func() { _, _ = client.Write([]byte("EHLO again, and again\r\n")) }()
	err := server.StartTLS(context.Background())
	require.ErrorIs(t, err, ErrNotTLS)
	require.ErrorIs(t, server.Err(), ErrNotTLS)
}

// A certificate that is obtained in the handshake may take long. The peer does not wait
// longer than the timeout, and the handshake has failed even if the certificate comes.
func TestHandshakeTimeoutDoesNotWaitForCallbacks(t *testing.T) {
	rawServer, rawClient := testkit.TCPPair(t)
	serverTLS, clientTLS := testTLS()
	slow, release := serverTLS.Clone(), make(chan struct{})
	slow.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		<-release
		return &serverTLS.Certificates[0], nil
	}
	slow.Certificates = nil
	server := Server(rawServer, &Config{TLS: slow, HandshakeTimeout: 100 * time.Millisecond})
	done := make(chan error, 1)
	go func() { done <- server.StartTLS(context.Background()) }()
	require.NoError(t, rawClient.SetDeadline(time.Now().Add(10*time.Second)))
	require.ErrorIs(t, tls.Client(rawClient, clientTLS).Handshake(), io.EOF)
	close(release)
	err := <-done
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestHandshakeTimeoutIsAbsolute(t *testing.T) {
	rawServer, rawClient := testkit.TCPPair(t)
	serverTLS, _ := testTLS()
	server := Server(rawServer, &Config{TLS: serverTLS, HandshakeTimeout: 300 * time.Millisecond})
	stop := make(chan struct{})
	defer close(stop)
	go dribble(rawClient, []byte{0x16, 3, 1, 2, 0}, stop)
	require.ErrorIs(t, server.StartTLS(context.Background()), os.ErrDeadlineExceeded)
}

// dribble sends a byte now and then, for ever.
func dribble(c net.Conn, first []byte, stop chan struct{}) {
	_, _ = c.Write(first)
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
			_, _ = c.Write([]byte{1})
		}
	}
}

func TestContextEndsStartTLS(t *testing.T) {
	server, client := connPair(t)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(100*time.Millisecond, cancel)
	require.Error(t, server.StartTLS(ctx))
	require.Error(t, ctx.Err())
	_ = client
}

func TestStartTLSWaitsForAReadInProgress(t *testing.T) {
	server, client := connPair(t)
	got := make(chan string, 1)
	go func() {
		line, _ := server.ReadLine()
		got <- line
	}()
	time.Sleep(50 * time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- server.StartTLS(context.Background()) }()
	_, err := client.Write([]byte("STARTTLS\n"))
	require.NoError(t, err)
	require.Equal(t, "STARTTLS", <-got)
	require.NoError(t, client.StartTLS(context.Background()))
	require.NoError(t, <-done)
}

func TestCloseWriteEndsOneHalf(t *testing.T) {
	server, client := connPair(t)
	mustStartBoth(t, server, client)
	require.NoError(t, client.CloseWrite())
	_, err := server.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = server.Write([]byte("still here"))
	require.NoError(t, err)
	require.NoError(t, server.CloseWrite())
	rest, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "still here", string(rest))
}

func TestTruncationIsToldFromTheEnd(t *testing.T) {
	server, client := connPair(t)
	mustStartBoth(t, server, client)
	require.NoError(t, client.NetConn().Close())
	_, err := server.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrTruncated)
}

func TestReadAndWriteConcurrently(t *testing.T) {
	server, client := connPair(t)
	mustStartBoth(t, server, client)
	const size = 1 << 20
	var group sync.WaitGroup
	for _, c := range []*Conn{server, client} {
		group.Go(func() { _, _ = c.Write(make([]byte, size)) })
		group.Go(func() {
			n, err := io.CopyN(io.Discard, c, size)
			require.NoError(t, err)
			require.EqualValues(t, size, n)
		})
	}
	group.Wait()
}

func TestClientNeedsAName(t *testing.T) {
	_, raw := testkit.TCPPair(t)
	err := Client(raw, nil).StartTLS(context.Background())
	require.ErrorContains(t, err, "no server name")
}

func TestCallersTLSConfigIsNotModified(t *testing.T) {
	server, client := connPair(t)
	before := client.config.TLS.NextProtos
	mustStartBoth(t, server, client)
	require.Equal(t, before, client.config.TLS.NextProtos)
	require.ErrorContains(t, server.StartTLS(context.Background()), "already active")
}

// serve accepts one connection and echoes it.
func serve(t testing.TB, proto *Protocol, config *Config) net.Addr {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln := NewListener(inner, proto, config)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return inner.Addr()
}

// Every protocol that has both roles reaches itself.
func TestDialReachesListener(t *testing.T) {
	for _, p := range protocols {
		if p.Accept == nil || p.Request == nil {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			serverTLS, clientTLS := testTLS()
			serverTLS = serverTLS.Clone()
			serverTLS.NextProtos = p.ALPN
			addr := serve(t, p, &Config{TLS: serverTLS, Hostname: testHost})
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			conn, err := Dial(ctx, "tcp", addr.String(), p, &Config{TLS: clientTLS})
			require.NoError(t, err)
			defer conn.Close()
			_, err = conn.Write([]byte("secret\n"))
			require.NoError(t, err)
			line, err := conn.ReadLine()
			require.NoError(t, err)
			require.Equal(t, "secret", line)
			state, _ := conn.TLSConnectionState()
			require.Contains(t, append(p.ALPN, ""), state.NegotiatedProtocol)
		})
	}
}

// Some servers refuse a client that offers more than one id.
func TestClientOffersOneALPNID(t *testing.T) {
	for _, p := range protocols {
		for name, test := range map[string]struct{ configured, offered []string }{
			"by default":    {nil, p.ALPN[:min(1, len(p.ALPN))]},
			"as configured": {[]string{"a", "b"}, []string{"a", "b"}},
			"none":          {[]string{}, nil},
		} {
			t.Run(p.Name+" "+name, func(t *testing.T) {
				serverTLS, clientTLS := testTLS()
				serverTLS, clientTLS = serverTLS.Clone(), clientTLS.Clone()
				clientTLS.NextProtos = test.configured
				var offered []string
				serverTLS.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					offered = hello.SupportedProtos
					return nil, nil
				}
				near, far := testkit.TCPPair(t)
				server, client := Server(near, &Config{TLS: serverTLS}), Client(far, &Config{TLS: clientTLS})
				client.proto = &Protocol{ALPN: p.ALPN} // and no Settle, which nobody answers
				mustStartBoth(t, server, client)
				require.ElementsMatch(t, test.offered, offered)
			})
		}
	}
}

func TestDialVerifiesTheHostOfTheAddress(t *testing.T) {
	serverTLS, clientTLS := testTLS()
	addr := serve(t, SMTP, &Config{TLS: serverTLS})
	_, err := Dial(context.Background(), "tcp", addr.String(), SMTP, &Config{TLS: &tls.Config{RootCAs: clientTLS.RootCAs, MinVersion: tls.VersionTLS12}})
	var wrong x509.HostnameError
	require.True(t, errors.As(err, &wrong), "%v", err)
}

func TestNegotiationTimeoutIsAbsolute(t *testing.T) {
	rawServer, rawClient := testkit.TCPPair(t)
	go func() { _, _ = io.Copy(io.Discard, rawClient) }()
	stop := make(chan struct{})
	defer close(stop)
	go dribble(rawClient, nil, stop)
	serverTLS, _ := testTLS()
	_, err := Accept(context.Background(), rawServer, SMTP, &Config{TLS: serverTLS, NegotiationTimeout: 300 * time.Millisecond})
	require.ErrorIs(t, err, ErrTimeout)
}

func TestFarewellIsRead(t *testing.T) {
	rawServer, rawClient := testkit.TCPPair(t)
	serverTLS, _ := testTLS()
	done := make(chan error, 1)
	go func() {
		_, err := Accept(context.Background(), rawServer, SMTP, &Config{TLS: serverTLS, Hostname: testHost})
		_ = rawServer.Close()
		done <- err
	}()
	_, err := rawClient.Write(append([]byte("STARTTLS\r\n"), make([]byte, 50<<10)...))
	require.NoError(t, err)
	_ = rawClient.(*net.TCPConn).CloseWrite()
	words, err := io.ReadAll(rawClient)
	require.NoError(t, err, "no reset took the words away")
	require.Equal(t, "220 mail.example.com ESMTP ready\r\n554 5.5.0 SMTP protocol synchronization\r\n", string(words))
	require.ErrorIs(t, <-done, ErrPipelined)
}
