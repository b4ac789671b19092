package postgres_test

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/postgres"
)

const cancelRequest = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x10\x92\x07\x5b\xcd\x15"

// joinWith joins a client that has said something, and perhaps has no more to say.
func joinWith(t *testing.T, config *upgrade.Config, says string, ends bool) (*upgrade.Joined, *net.TCPConn, error) {
	t.Helper()
	server, client := testkit.TCPPair(t)
	_, err := io.WriteString(client, says)
	require.NoError(t, err)
	if ends {
		require.NoError(t, client.(*net.TCPConn).CloseWrite())
	}
	joined, err := upgrade.Join(t.Context(), server, postgres.Protocol, config)
	return joined, client.(*net.TCPConn), err
}

// The backend gets a CancelRequest and nothing else, under either policy. The client gets no
// answer, and the end that it waits for comes when the backend has ended.
func TestCancelRequest(t *testing.T) {
	for name, config := range map[string]*upgrade.Config{
		"required": {}, "optional": {Optional: true}, "passthrough": {Passthrough: true}, "implicit TLS": {ImplicitTLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			joined, client, err := joinWith(t, config, cancelRequest, false)
			require.NoError(t, err)
			require.True(t, joined.Conn().Outcome().CancelRequest)
			_, secure := joined.Conn().TLSConnectionState()
			require.False(t, secure)

			got := make([]byte, 100)
			n, err := joined.Read(got)
			require.NoError(t, err)
			require.Equal(t, cancelRequest, string(got[:n]))
			_, err = io.WriteString(client, "and more")
			require.NoError(t, err)
			require.NoError(t, joined.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
			n, err = joined.Read(got)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "read %q", got[:n])
			require.NoError(t, joined.SetReadDeadline(time.Time{}))
			require.NoError(t, client.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
			_, err = client.Read(got)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "an end before the backend's")

			require.NoError(t, joined.CloseWrite())
			n, err = joined.Read(got)
			require.ErrorIs(t, err, io.EOF, "read %q", got[:n])
			require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
			rest, err := io.ReadAll(client)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.NoError(t, client.Close())
			joined.Returned(nil)
		})
	}
}

// A key may have 4 to 256 octets, and whatever comes behind it ends the connection.
func TestCancelRequestIsAllThatItsClientSays(t *testing.T) {
	longest := "\x00\x00\x01\x0c" + cancelRequest[4:12] + strings.Repeat("k", 256)
	joined, _, err := joinWith(t, nil, longest, false)
	require.NoError(t, err)
	got, err := io.ReadAll(io.LimitReader(joined, int64(len(longest))))
	require.NoError(t, err)
	require.Equal(t, longest, string(got))

	for behind, optional := range map[string]bool{"x": false, "\x16\x03\x01": true, cancelRequest: true} {
		_, client, err := joinWith(t, &upgrade.Config{Optional: optional}, cancelRequest+behind, true)
		require.ErrorIs(t, err, upgrade.ErrPipelined)
		require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Second)))
		rest, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Empty(t, rest, "there is no answer")
	}
	_, _, err = joinWith(t, nil, "\x00\x00\x01\x0d"+cancelRequest[4:12]+strings.Repeat("k", 257), true)
	require.ErrorIs(t, err, upgrade.ErrMalformed)
}

// It counts as an upgrade, and there is no answer either to one too many.
func TestCancelRequestIsLimited(t *testing.T) {
	asked := 0
	config := &upgrade.Config{AdmitUpgrade: func(net.Addr) bool { asked++; return asked == 1 }}
	_, _, err := joinWith(t, config, cancelRequest, true)
	require.NoError(t, err)
	_, client, err := joinWith(t, config, cancelRequest, true)
	require.ErrorIs(t, err, upgrade.ErrTooManyUpgrades)
	rest, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Empty(t, rest)
}

// A backend that answers has not understood, and the client does not hear of it.
func TestCancelRequestHasNoAnswer(t *testing.T) {
	joined, client, err := joinWith(t, nil, cancelRequest, true)
	require.NoError(t, err)
	_, err = io.WriteString(joined, "an answer")
	require.NoError(t, err)
	rest, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Empty(t, rest)
	got, err := io.ReadAll(joined)
	require.NoError(t, err, "the backend sees an end")
	require.Empty(t, got)
}

// For who has no backend, the client is one that leaves: a server must not take it for one
// that has upgraded.
func TestCancelRequestIsNotAccepted(t *testing.T) {
	server, client := testkit.TCPPair(t)
	_, err := io.WriteString(client, cancelRequest)
	require.NoError(t, err)
	conn, err := upgrade.Accept(context.Background(), server, postgres.Protocol, nil)
	require.ErrorIs(t, err, upgrade.ErrQuit)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, upgrade.ErrQuit)
}
