package upgrade

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// versions are those of TLS.
var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// A client resumes no session on a data connection but that of its control connection. Where
// that is required, it is not served otherwise.
func TestDataConnectionsResume(t *testing.T) {
	for name, version := range versions {
		for _, required := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, required: %t", name, required), func(t *testing.T) { dataConnectionsResume(t, version, required) })
		}
	}
}

func dataConnectionsResume(t *testing.T, version uint16, required bool) {
	options := map[string]string{}
	if required {
		options[dialogue.DataResumptionOption] = "required"
	}
	server, config := coreTLS()
	config.MaxVersion = version
	own, others := config.Clone(), config.Clone()
	s, other := startFTP(t, server, config, options), startFTP(t, server, config, options)
	own.ClientSessionCache, others.ClientSessionCache = lastSession(t, s), lastSession(t, other)

	raw, backend := s.transfer()
	client := tls.Client(raw, own)
	require.NoError(t, client.Handshake())
	require.True(t, client.ConnectionState().DidResume)
	requirePasses(t, client, backend)

	for name, config := range map[string]*tls.Config{"another session": others, "no session": config} {
		raw, backend = s.transfer()
		client = tls.Client(raw, config)
		if required {
			_, _ = io.WriteString(client, "not mine")
			_, err := io.ReadAll(client)
			require.Error(t, err, name)
			require.NotErrorIs(t, err, errTimedOut(err), name)
			_, err = io.ReadAll(backend)
			require.Error(t, err, "it is no upload that is complete")
			continue
		}
		require.NoError(t, client.Handshake(), name)
		require.False(t, client.ConnectionState().DidResume, name)
		requirePasses(t, client, backend)
	}
}

// lastSession is that of a control connection, as its client has it.
func lastSession(t *testing.T, s *ftpSession) tls.ClientSessionCache {
	t.Helper()
	session, ok := s.dialled.sessions.Get("")
	require.True(t, ok)
	kept := new(sessionCache)
	kept.Put("", session)
	return kept
}

func requirePasses(t *testing.T, client *tls.Conn, backend net.Conn) {
	t.Helper()
	_, err := io.WriteString(client, "mine")
	require.NoError(t, err)
	require.NoError(t, client.Close())
	got, err := io.ReadAll(backend)
	require.NoError(t, err)
	require.Equal(t, "mine", string(got))
}

// A client with a certificate has the same on its data connections.
func TestDataConnectionsHaveTheClientsCertificate(t *testing.T) {
	server, client := coreTLS()
	server.ClientAuth = tls.RequireAnyClientCert
	client.Certificates = server.Certificates
	s := startFTP(t, server, client, nil)
	raw, backend := s.transfer()
	same := tls.Client(raw, client)
	require.NoError(t, same.Handshake())
	requirePasses(t, same, backend)
	other, _ := testkit.TLSConfigs("other.example.com")
	client.Certificates = other.Certificates
	raw, _ = s.transfer()
	_, err := io.ReadAll(tls.Client(raw, client))
	require.Error(t, err)
	require.NotErrorIs(t, err, errTimedOut(err))
}

// Clients may offer the id of data connections, and none of others.
func TestDataConnectionsALPN(t *testing.T) {
	server, config := coreTLS()
	server.NextProtos = FTP.ALPN
	s := startFTP(t, server, config, nil)
	for offered, ok := range map[string]bool{"ftp-data": true, "ftp": true, "http/1.1": false} {
		raw, _ := s.transfer()
		config := config.Clone()
		config.NextProtos = []string{offered}
		client := tls.Client(raw, config)
		err := client.Handshake()
		require.Equal(t, ok, err == nil, "%s: %v", offered, err)
		if ok {
			require.Equal(t, offered, client.ConnectionState().NegotiatedProtocol)
		}
		_ = raw.Close()
	}
}

// A strictServer is one that demands TLS, and data connections that resume the session of the
// control connection.
type strictServer struct {
	t      *testing.T
	config *tls.Config
	ln     net.Listener
}

// startStrict runs one. Of each file it sends the name.
func startStrict(t *testing.T, version uint16) *strictServer {
	t.Helper()
	config, _ := coreTLS()
	config.MaxVersion = version
	s := &strictServer{t, config, listenTCP(t)}
	go func() {
		for {
			raw, err := s.ln.Accept()
			if err != nil {
				return
			}
			go s.serve(raw)
		}
	}()
	return s
}

func (s *strictServer) serve(raw net.Conn) {
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(dataTimeout))
	_, _ = io.WriteString(raw, "220 secret\r\n")
	if line, _ := bufio.NewReader(io.LimitReader(raw, int64(len("AUTH TLS\r\n")))).ReadString('\n'); line != "AUTH TLS\r\n" {
		return
	}
	_, _ = io.WriteString(raw, "234 go\r\n")
	conn := tls.Server(raw, s.config)
	var data net.Listener
	private := false
	for in := bufio.NewScanner(conn); in.Scan(); {
		verb, name, _ := strings.Cut(in.Text(), " ")
		switch verb {
		case "PROT":
			private = name == "P"
			fmt.Fprintf(conn, "200 ok\r\n")
		case "EPSV":
			data = listenTCP(s.t)
			fmt.Fprintf(conn, "229 ok (|||%d|)\r\n", data.Addr().(*net.TCPAddr).Port)
		case "RETR":
			fmt.Fprintf(conn, "150 ok\r\n")
			if err := s.send(data, name, private); err != nil {
				fmt.Fprintf(conn, "425 %v\r\n", err)
				continue
			}
			fmt.Fprintf(conn, "226 done\r\n")
		default:
			fmt.Fprintf(conn, "200 ok\r\n")
		}
	}
}

func (s *strictServer) send(data net.Listener, text string, private bool) error {
	raw, err := data.Accept()
	if err != nil {
		return err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(dataTimeout))
	conn := tls.Server(raw, s.config)
	if err := conn.Handshake(); err != nil {
		return err
	}
	if !private || !conn.ConnectionState().DidResume {
		return errors.New("no session was resumed")
	}
	_, err = io.WriteString(conn, text)
	return errors.Join(err, conn.Close())
}

// A client in plaintext has its data connections with a server that demands TLS for them.
func TestDataConnectionsWithAnUpgradedBackend(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			server := startStrict(t, version)
			client, config := newTCPPair(t), &Config{Options: map[string]string{dialogue.DataUpstreamOption: "127.0.0.1"}}
			_, config.TLS = coreTLS()
			up, err := Dial(context.Background(), "tcp", server.ln.Addr().String(), FTP, config)
			require.NoError(t, err)
			defer up.Close()
			joined := ServeUpgraded(client.server, up)
			go func() { _, _ = io.Copy(up, joined); _ = up.CloseWrite() }()
			go func() { _, _ = io.Copy(joined, up); _ = joined.CloseWrite() }()
			in := bufio.NewReader(client.client)
			requireLine(t, in, `^220 mail\.example\.com `)
			for _, file := range []string{"one", "two"} {
				_, _ = io.WriteString(client.client, "EPSV\r\n")
				reply := requireLine(t, in, extendedPassive.String())
				data, err := net.Dial("tcp", "127.0.0.1:"+extendedPassive.FindStringSubmatch(reply)[1])
				require.NoError(t, err)
				_, _ = io.WriteString(client.client, "RETR "+file+"\r\n")
				requireLine(t, in, `^150 `)
				requireLine(t, in, `^226 done`)
				got, err := io.ReadAll(data)
				require.NoError(t, err)
				require.Equal(t, file, string(got))
				require.NoError(t, data.Close())
			}
			require.NoError(t, client.client.Close())
		})
	}
}

// With TLS on both legs the two sessions have their data connections in this process, and the
// client's is that of the outer one alone.
func TestDataConnectionsAcrossBothLegs(t *testing.T) {
	server := startStrict(t, tls.VersionTLS13)
	s := &ftpSession{t: t, waiting: listenTCP(t), over: make(chan struct{})}
	inner := make(chan *Joined, 1)
	s.backs = func(outer *Joined) {
		config := &Config{Options: map[string]string{dialogue.DataUpstreamOption: "127.0.0.1"}}
		_, config.TLS = coreTLS()
		up, err := Dial(context.Background(), "tcp", server.ln.Addr().String(), FTP, config)
		if err != nil {
			return
		}
		joined := ServeUpgraded(outer, up)
		inner <- joined
		go func() { _, _ = io.Copy(up, joined); _ = up.CloseWrite() }()
		_, _ = io.Copy(joined, up)
		_ = joined.CloseWrite()
		joined.Returned(nil)
		_ = up.Close()
	}
	s.start(nil, nil, nil)
	_, config := coreTLS()
	for _, file := range []string{"one", "two"} {
		raw := s.connect()
		_, err := io.WriteString(s.client, "RETR "+file+"\r\n")
		require.NoError(t, err)
		requireLine(t, s.replies, `^150 `)
		client := tls.Client(dataTransport{raw}, config)
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, file, string(got))
		require.NoError(t, client.Close())
		requireLine(t, s.replies, `^226 done`)
	}
	joined := <-inner
	joined.data.mu.Lock()
	require.True(t, joined.data.inProcess)
	joined.data.mu.Unlock()
}

func requireLine(t *testing.T, in *bufio.Reader, pattern string) string {
	t.Helper()
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	line = strings.TrimSpace(line)
	require.Regexp(t, pattern, line)
	return line
}

// A tcpPair is both ends of a connection.
type tcpPair struct{ client, server net.Conn }

func newTCPPair(t *testing.T) tcpPair {
	t.Helper()
	ln := listenTCP(t)
	client, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	require.NoError(t, client.SetDeadline(time.Now().Add(dataTimeout)))
	return tcpPair{client, server}
}
