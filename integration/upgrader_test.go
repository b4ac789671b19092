package integration_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// upstreamName is whom the certificates of upstreams are for.
const upstreamName = "up.example.com"

// An authority signs for upstreams and for clients.
type authority struct {
	ca   *tls.Certificate
	file string // the certificate, in PEM
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{ca: newCertificate(t, "Upstream CA", nil), file: filepath.Join(t.TempDir(), "ca.pem")}
	writePEM(t, a.file, "CERTIFICATE", a.ca.Certificate[0])
	return a
}

func writePEM(t testing.TB, file, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// server makes the configuration of a server with a name below example.com.
func (a *authority) server(t testing.TB, name string) *tls.Config {
	t.Helper()
	return &tls.Config{Certificates: []tls.Certificate{*newCertificate(t, strings.TrimSuffix(name, ".example.com"), a.ca)}}
}

// pool is for those who trust it.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.ca.Leaf)
	return pool
}

// client writes a client's certificate and key into files.
func (a *authority) client(t testing.TB, name string) (certFile, keyFile string) {
	t.Helper()
	cert := newCertificate(t, name, a.ca)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", cert.Certificate[0])
	writePEM(t, keyFile, "PRIVATE KEY", key)
	return certFile, keyFile
}

// An upgrader is an upstream that upgrades its connections. What becomes of them
// inside TLS is up to the test, which takes them from the channel, unless there is a
// function for it.
type upgrader struct {
	proto   *upgrade.Protocol
	talk    *conversation
	config  *upgrade.Config
	ln      net.Listener
	dials   atomic.Int32
	refused chan error // connections that did not get as far as TLS
	secured chan *secured
	serve   func(conn net.Conn) error
	tap     func(net.Conn) net.Conn // around the connection below, if set
}

// A secured connection is one to an upgrader, inside TLS.
type secured struct {
	*upgrade.Conn
	raw *net.TCPConn
}

// newUpgrader starts one, until the end of the test. What else is to be set, must be
// set before.
func newUpgrader(t testing.TB, protocol string, config *tls.Config, set ...func(*upgrader)) *upgrader {
	t.Helper()
	u := makeUpgrader(t, protocol, config)
	for _, f := range set {
		f(u)
	}
	go u.accept()
	return u
}

// makeUpgrader makes one that accepts nothing yet.
func makeUpgrader(t testing.TB, protocol string, config *tls.Config) *upgrader {
	t.Helper()
	proto, err := upgrade.Lookup(protocol)
	require.NoError(t, err)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	return &upgrader{
		proto: proto, talk: conversationOf(t, protocol), ln: ln, config: &upgrade.Config{Hostname: "other.example.net", Hostnames: []string{"*.example.com", "example.org"}, TLS: config},
		refused: make(chan error, 1000), secured: make(chan *secured, 1000),
	}
}

func (u *upgrader) address() string { return u.ln.Addr().String() }

func (u *upgrader) accept() {
	for {
		raw, err := u.ln.Accept()
		if err != nil {
			return
		}
		u.dials.Add(1)
		go u.handle(raw.(*net.TCPConn))
	}
}

func (u *upgrader) handle(raw *net.TCPConn) {
	var below net.Conn = raw
	if u.tap != nil {
		below = u.tap(raw)
	}
	conn, err := u.upgrade(below)
	if err != nil {
		_ = raw.Close()
		if !u.proto.HearsClient || !errors.Is(err, io.EOF) { // of a client that has not said a word
			u.refused <- err
		}
		return
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	u.secured <- &secured{conn, raw}
	if u.serve != nil {
		_ = u.serve(conn)
		_ = conn.Close()
	}
}

// upgrade plays the server up to TLS. That of the line protocol is an application.
func (u *upgrader) upgrade(raw net.Conn) (*upgrade.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if u.proto.Accept != nil {
		return upgrade.Accept(ctx, raw, u.proto, u.config)
	}
	conn := upgrade.Server(raw, u.config)
	_ = raw.SetDeadline(time.Now().Add(patience))
	line, err := conn.ReadLine()
	switch {
	case err != nil:
		return nil, err
	case line != "STARTTLS":
		return nil, fmt.Errorf("asked with %q", line)
	}
	return conn, conn.StartTLS(ctx)
}

// next returns the next connection inside TLS.
func (u *upgrader) next(t testing.TB) *secured {
	t.Helper()
	select {
	case conn := <-u.secured:
		t.Cleanup(func() { _ = conn.raw.Close() })
		return conn
	case err := <-u.refused:
		require.FailNow(t, "the upstream refused", "%s: %v", u.proto.Name, err)
	case <-time.After(patience):
		require.FailNow(t, "nobody has reached the upstream", u.proto.Name)
	}
	return nil
}

// servesInside has an upgrader go on as servers do inside TLS, where those do not greet that
// have greeted already.
func servesInside(u *upgrader) {
	u.serve = func(conn net.Conn) error { return serveInside(u.proto, conn) }
}

// A joint is a server in plaintext, in front of an upgrader.
type joint struct {
	address string
	up      *upgrader
	lines   []string // in the block of starttls_upstream
	match   string   // a matcher, if only some clients are served
	before  string   // handlers in front of it
	proxy   string   // all behind `proxy`; default: the upgrader
}

// newJoint makes one with an upstream whose certificate is good.
func newJoint(t testing.TB, protocol string, a *authority, set ...func(*upgrader)) *joint {
	t.Helper()
	return &joint{
		address: freeAddress(t), up: newUpgrader(t, protocol, a.server(t, upstreamName), set...),
		lines: []string{"tls_server_name " + upstreamName, "tls_trust_pool file " + a.file},
	}
}

// jointPerProtocol makes one for each protocol.
func jointPerProtocol(t testing.TB, a *authority, set ...func(*upgrader)) (joints []*joint) {
	t.Helper()
	for _, p := range upgrade.Protocols() {
		joints = append(joints, newJoint(t, p.Name, a, set...))
	}
	return joints
}

func (j *joint) protocol() string { return j.up.proto.Name }

// handler is the handler alone.
func (j *joint) handler() string {
	return fmt.Sprintf("starttls_upstream %s {\n%s\n}\n", j.protocol(), strings.Join(j.lines, "\n"))
}

// String is the server as the layer4 option has it.
func (j *joint) String() string {
	proxy := j.proxy
	if proxy == "" {
		proxy = j.up.address()
	}
	matcher, route := "", "route"
	if j.match != "" {
		matcher, route = "@match "+j.match+"\n", "route @match"
	}
	return fmt.Sprintf("%s {\n%s%s {\n%s\n%s\nproxy %s\n}\n}\n", j.address, matcher, route, j.before, j.handler(), proxy)
}

// serveJoints runs a Caddy with them.
func serveJoints(t *testing.T, joints ...*joint) *instance {
	t.Helper()
	return startCaddy(t, jointServers(joints))
}

// jointServers are all of them as the layer4 option has them.
func jointServers(joints []*joint) string {
	var all strings.Builder
	for _, j := range joints {
		all.WriteString(j.String())
	}
	return all.String()
}

// greeting is what a client gets before the upstream has said anything.
func (j *joint) greeting() string {
	return strings.ReplaceAll(j.up.proto.Greeting, "%s", upstreamName)
}

// dial connects a client.
func (j *joint) dial(t testing.TB) *net.TCPConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", j.address, patience)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn.(*net.TCPConn)
}

// connect joins a client with the upstream.
func (j *joint) connect(t testing.TB) (client *net.TCPConn, up *secured) {
	t.Helper()
	client = j.dial(t)
	requireReads(t, client, j.greeting())
	o := j.up.talk.opening
	if o == nil {
		return client, j.up.next(t)
	}
	j.open(t, client)
	up = j.up.next(t)
	if j.up.serve == nil {
		_, err := io.ReadFull(up, make([]byte, o.arrive))
		require.NoError(t, err)
	}
	writes(t, up, o.upstream)
	requireMatches(t, client, o.pattern)
	return client, up
}

// requireReads reads as much as is wanted.
func requireReads(t testing.TB, from io.Reader, want string) {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(from, got)
	require.NoError(t, err, "after %q", got[:n])
	require.Equal(t, want, string(got))
}

// requireRest reads all that comes, up to a proper end.
func requireRest(t testing.TB, from io.Reader, want string) {
	t.Helper()
	got, err := io.ReadAll(from)
	require.NoError(t, err, "after %q", got)
	require.Equal(t, want, string(got))
}

func writes(t testing.TB, to io.Writer, text string) {
	t.Helper()
	_, err := io.WriteString(to, text)
	require.NoError(t, err)
}

// reset ends a connection without an end.
func reset(conn *net.TCPConn) error { return errors.Join(conn.SetLinger(0), conn.Close()) }

// ask connects a client that says what it must to hear that it has no upstream.
func (j *joint) ask(t testing.TB) *net.TCPConn {
	t.Helper()
	client := j.dial(t)
	writes(t, client, j.up.talk.refused.ask)
	return client
}

// requireWords requires that a client is told that it has no upstream, and why.
func (j *joint) requireWords(t testing.TB, client net.Conn, name, why string) {
	t.Helper()
	got, err := io.ReadAll(client)
	require.NoError(t, err, "after %q", got)
	pattern := strings.NewReplacer("NAME", regexp.QuoteMeta(name), "WHY", why).Replace(j.up.talk.refused.pattern)
	require.Regexp(t, pattern, testkit.Latin1(got), j.protocol())
}
