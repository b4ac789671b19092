package peer

import (
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConnKeepsDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := New(0)
		start := time.Now()
		require.NoError(t, client.SetDeadline(start.Add(time.Minute)))
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, time.Minute, time.Since(start))
		require.NoError(t, client.Close())
		_, err = client.Read(make([]byte, 1))
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = client.Write(nil)
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestConnTellsWhatIsNew(t *testing.T) {
	client := New(2)
	client.Say("abc")
	client.End()
	p := make([]byte, 8)
	n, err := client.Read(p)
	require.NoError(t, err)
	require.Equal(t, "ab", string(p[:n]))
	_, err = client.Write([]byte("one"))
	require.NoError(t, err)
	heard, ended := client.Take()
	require.Equal(t, "one", heard)
	require.False(t, ended)
	require.NoError(t, client.CloseWrite())
	heard, ended = client.Take()
	require.Empty(t, heard)
	require.True(t, ended)
	require.Equal(t, "one", client.Heard())
}
