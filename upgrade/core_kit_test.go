package upgrade

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// This file is all that core_test.go knows of how the core is called: how the two
// sides of an upgrade come about, and what the next handler is handed.

// A coreSession is a client and its backend, with all that is ours in between.
type coreSession struct {
	client net.Conn // as the client has it, with TLS if it was upgraded
	server *Conn
	next   nextConn // as the next handler has it
}

// A nextConn is what the next handler reads from and writes to.
type nextConn interface {
	net.Conn
	CloseWrite() error
}

// end is the client's and the backend's, so that nothing waits for either any more.
func (s *coreSession) end() {
	_ = s.client.Close()
	_ = s.next.CloseWrite()
	synctest.Wait()
}

// handlerReturned is what the core is told when the next handler has returned.
func (s *coreSession) handlerReturned(err error) { s.next.(*Joined).Returned(err) }

// why is why the client's connection is of no further use, or nil.
func (s *coreSession) why() error { return s.next.(*Joined).Err() }

// upgradedSession has a client ask for the upgrade, and the next handler take over.
func upgradedSession(t *testing.T, p *Protocol, config Config) *coreSession {
	t.Helper()
	raw, rawClient := memPair()
	serverTLS, clientTLS := coreTLS()
	if config.TLS == nil {
		config.TLS = serverTLS
	}
	type result struct {
		conn *Conn
		err  error
	}
	asked := make(chan result, 1)
	go func() {
		conn, err := Request(context.Background(), rawClient, p, &Config{Hostname: "client.example", TLS: clientTLS})
		asked <- result{conn, err}
	}()
	joined, err := Join(context.Background(), raw, p, &config)
	require.NoError(t, err)
	client := <-asked
	require.NoError(t, client.err)
	return &coreSession{client: client.conn, server: joined.Conn(), next: joined}
}

// cleartextSession has a client stay in plaintext, having said something.
func cleartextSession(t *testing.T, p *Protocol, said string) *coreSession {
	t.Helper()
	raw, client := memPair()
	_, err := io.WriteString(client, said)
	require.NoError(t, err)
	joined, err := Join(context.Background(), raw, p, &Config{Hostname: testHost, Optional: true})
	require.NoError(t, err)
	require.True(t, joined.Conn().Outcome().Cleartext)
	return &coreSession{client: client, server: joined.Conn(), next: joined}
}

// relayedSession is one that the next handler takes over before the upgrade.
func relayedSession(t *testing.T, config Config) *coreSession {
	t.Helper()
	raw, client := memPair()
	config.TLS, _ = coreTLS()
	config.Optional = true
	joined, err := Join(context.Background(), raw, Line, &config)
	require.NoError(t, err)
	return &coreSession{client: client, server: joined.Conn(), next: joined}
}

// startTLS is the client's handshake in a session that is relayed. It needs somebody
// who reads from next meanwhile.
func (s *coreSession) startTLS(t *testing.T) {
	t.Helper()
	_, config := coreTLS()
	secure := tls.Client(s.client, config)
	require.NoError(t, secure.Handshake())
	s.client = secure
}

// refused has a client say something that is not accepted, and returns why.
func refused(raw net.Conn, p *Protocol, config Config) error {
	if config.TLS == nil {
		config.TLS, _ = coreTLS()
	}
	_, err := Accept(context.Background(), raw, p, &config)
	return err
}

// coreTLS makes the two sides' configurations around a certificate that is good in a
// synctest bubble, too, where it is the year 2000.
func coreTLS() (server, client *tls.Config) {
	server, client = coreCertificate()
	return server.Clone(), client.Clone()
}

var coreCertificate = sync.OnceValues(func() (server, client *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{testHost}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2199, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	chain := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return &tls.Config{Certificates: []tls.Certificate{chain}, MinVersion: tls.VersionTLS12},
		&tls.Config{RootCAs: roots, ServerName: testHost, MinVersion: tls.VersionTLS12}
})

// acceptNames returns the names that a client gave itself, and asked for.
func acceptNames(t *testing.T, raw net.Conn, p *Protocol, config *tls.Config) (hello, server string) {
	t.Helper()
	conn, err := Accept(context.Background(), raw, p, &Config{TLS: config, Hostname: testHost})
	require.NoError(t, err)
	return conn.Outcome().Hello, conn.Outcome().ServerName
}
