package upgrade

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Both directions pass on what there is, and its end. What passes is counted.
func TestDataConnections(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	_, config := coreTLS()
	file := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

	raw, backend := s.transfer()
	client := tls.Client(raw, config)
	go func() { _, _ = client.Write(file); _ = client.Close() }()
	got, err := io.ReadAll(backend)
	require.NoError(t, err)
	require.True(t, bytes.Equal(file, got))
	require.NoError(t, backend.Close())

	raw, backend = s.transfer()
	client = tls.Client(dataTransport{raw}, config)
	go func() { _, _ = backend.Write(file); _ = backend.Close() }()
	got, err = io.ReadAll(client)
	require.NoError(t, err, "an end without close_notify is an error here")
	require.True(t, bytes.Equal(file, got))
	require.NoError(t, client.Close())

	require.GreaterOrEqual(t, s.joined.Account().FromClient(), uint64(len(file)))
	require.GreaterOrEqual(t, s.joined.Account().FromBackend(), uint64(len(file)))
	require.Empty(t, s.warned())
}

// The backend is reached when the client comes, and not before, nor only behind TLS.
func TestDataBackendIsDialledWhenTheClientComes(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	to := s.passive()
	require.NoError(t, s.waiting.SetDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := s.waiting.AcceptTCP()
	require.Error(t, err, "nobody has come")
	_, err = s.dial("127.0.0.1", to)
	require.NoError(t, err)
	s.backend()
}

// Nobody but the client can take up what it was offered, and nobody keeps it from that.
func TestDataConnectionsAreTheClients(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	to := s.passive()
	for _, other := range []string{"127.0.0.2", "127.0.0.3", "127.255.255.254"} {
		thief, err := s.dial(other, to)
		require.NoError(t, err)
		_, err = thief.Read(make([]byte, 1))
		require.Error(t, err)
		require.NotErrorIs(t, err, errTimedOut(err), other)
	}
	raw, err := s.dial("127.0.0.1", to)
	require.NoError(t, err)
	backend := s.backend()
	_, config := coreTLS()
	client := tls.Client(raw, config)
	_, err = io.WriteString(client, "mine")
	require.NoError(t, err)
	require.NoError(t, client.Close())
	got, err := io.ReadAll(backend)
	require.NoError(t, err)
	require.Equal(t, "mine", string(got))
	_, err = s.dial("127.0.0.1", to)
	require.Error(t, err, "there is one connection")
}

// errTimedOut is err if it is that of a deadline, which is none of those that end a
// connection.
func errTimedOut(err error) error {
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // as net returns it
		return err
	}
	return io.ErrNoProgress
}

// There is one offer at a time: the next one withdraws it, and so do another level of
// protection and the end of the session.
func TestDataOffersEnd(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	first := s.passive()
	second := s.passive()
	requireRefused(t, s, first)
	require.Equal(t, "221 bye", s.says("QUIT"))
	_ = s.client.Close()
	s.awaitEnd()
	requireRefused(t, s, second)
}

func requireRefused(t *testing.T, s *ftpSession, to string) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := s.dial("127.0.0.1", to)
		if err == nil { // before the listener was closed, but nobody is served
			_, err = conn.Read(make([]byte, 1))
		}
		return err != nil
	}, dataTimeout, 10*time.Millisecond)
}

// Ports are those of the configuration. When all are taken, the client is told so.
func TestDataPorts(t *testing.T) {
	free := listenTCP(t)
	port := portOf(t, free.Addr().String())
	s := startFTP(t, nil, nil, map[string]string{dialogue.DataPortsOption: fmt.Sprintf("%d-%d", port, port)})
	require.Equal(t, "425 No data connection is possible", s.says("EPSV"))
	require.Len(t, s.warned(), 1)
	require.Contains(t, s.warned()[0], dialogue.DataPortsOption)
	require.NoError(t, free.Close())
	require.Equal(t, port, portOf(t, s.passive()))
	require.Equal(t, port, portOf(t, s.passive()), "it is free again")
}

// What PASV shows is what the configuration says.
func TestDataAddress(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	require.Regexp(t, `^227 .*\(127,0,0,1,\d+,\d+\)$`, s.says("PASV"))
	s = startFTP(t, nil, nil, map[string]string{dialogue.DataAddressOption: "192.0.2.1"})
	require.Regexp(t, `^227 .*\(192,0,2,1,\d+,\d+\)$`, s.says("PASV"))
}

// Where nobody knows the backend's host, nothing is dialled.
func TestDataUpstreamIsNotKnown(t *testing.T) {
	s := startFTP(t, nil, nil, map[string]string{dialogue.DataUpstreamOption: ""})
	require.Equal(t, "425 No data connection is possible", s.says("EPSV"))
	require.Contains(t, s.warned()[0], dialogue.DataUpstreamOption)
}

// An upload that is cut is none that is complete, and so is a download.
func TestDataConnectionsThatAreCut(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	_, config := coreTLS()
	raw, backend := s.transfer()
	client := tls.Client(raw, config)
	_, err := io.WriteString(client, "half of a fi")
	require.NoError(t, err)
	require.NoError(t, raw.CloseWrite()) // without close_notify
	_, err = io.ReadAll(backend)
	require.Error(t, err)

	raw, backend = s.transfer()
	client = tls.Client(dataTransport{raw}, config)
	require.NoError(t, client.Handshake())
	_, err = io.WriteString(backend, "half of a fi")
	require.NoError(t, err)
	_, err = io.ReadFull(client, make([]byte, len("half of a fi")))
	require.NoError(t, err)
	require.NoError(t, backend.SetLinger(0))
	require.NoError(t, backend.Close())
	_, err = io.ReadAll(client)
	require.Error(t, err)
}

// A client that comes twice at a time has its older connection ended: there are two, so that
// one may end slowly.
func TestDataConnectionsAreBounded(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	_, config := coreTLS()
	var clients []*tls.Conn
	for range maxTransfers + 1 {
		raw, _ := s.transfer()
		clients = append(clients, tls.Client(raw, config))
		require.NoError(t, clients[len(clients)-1].Handshake())
	}
	_, err := clients[0].Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, errTimedOut(err))
	_, err = io.WriteString(clients[1], "still here")
	require.NoError(t, err)
}

// What is on the way when the control connection ends still arrives, and the session is over
// behind that.
func TestDataConnectionsOutliveTheControlConnection(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	_, config := coreTLS()
	raw, backend := s.transfer()
	client := tls.Client(dataTransport{raw}, config)
	require.NoError(t, client.Handshake())
	require.Equal(t, "221 bye", s.says("QUIT"))
	require.NoError(t, s.client.Close())
	select {
	case <-s.over:
		require.Fail(t, "over before the transfer")
	case <-time.After(50 * time.Millisecond):
	}
	go func() { _, _ = io.WriteString(backend, "last words"); _ = backend.Close() }()
	got, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	require.NoError(t, client.Close())
	s.awaitEnd()
}

// The end of the process ends transfers, too.
func TestDataConnectionsEndByShutdown(t *testing.T) {
	s := startFTP(t, nil, nil, nil)
	_, config := coreTLS()
	raw, _ := s.transfer()
	client := tls.Client(dataTransport{raw}, config)
	require.NoError(t, client.Handshake())
	require.NoError(t, s.joined.Shutdown(time.Now().Add(50*time.Millisecond)))
	_, err := client.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, errTimedOut(err))
	_ = s.client.Close()
	s.awaitEnd()
}
