package bufpipe

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pipeTimeout bounds what should not take any time.
const pipeTimeout = 20 * time.Second

func testPipe(t *testing.T) (near, far *Conn) {
	client, peer := net.Pipe()
	near, far = New(client)
	t.Cleanup(func() {
		for _, conn := range []net.Conn{near, far, client, peer} {
			_ = conn.Close()
		}
	})
	require.NoError(t, near.SetDeadline(time.Now().Add(pipeTimeout)))
	require.NoError(t, far.SetDeadline(time.Now().Add(pipeTimeout)))
	return near, far
}

// Whatever the sizes of writes and reads, all arrives in order, in both directions at
// once, and then the end.
func TestPipeCarriesEverything(t *testing.T) {
	near, far := testPipe(t)
	data := make([]byte, 3*streamSize+12345)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	failed := make(chan error, 2)
	for _, end := range []*Conn{near, far} {
		go func() { failed <- writeInPieces(end, data) }()
	}
	for _, end := range []*Conn{near, far} {
		got := make(chan []byte, 1)
		go func() { got <- readInPieces(end) }()
		require.True(t, bytes.Equal(data, <-got))
		require.NoError(t, <-failed)
	}
}

func writeInPieces(end *Conn, data []byte) error {
	for len(data) > 0 {
		n := min(1+rand.IntN(2*streamSize), len(data))
		if _, err := end.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return end.CloseWrite()
}

func readInPieces(end *Conn) (all []byte) {
	for {
		p := make([]byte, 1+rand.IntN(2*streamSize))
		n, err := end.Read(p)
		all = append(all, p[:n]...)
		if err != nil {
			return all
		}
	}
}

// What is on the way outlasts its writer, but not its reader.
func TestPipeEnds(t *testing.T) {
	near, far := testPipe(t)
	_, err := near.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, near.Close())
	got, err := io.ReadAll(far)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	_, err = far.Write([]byte("too late"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = near.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	_, err = near.Write([]byte("after the end"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// Who aborts has the other end know why what has arrived is not everything.
func TestPipeAborts(t *testing.T) {
	near, far := testPipe(t)
	_, err := near.Write([]byte("half of a mess"))
	require.NoError(t, err)
	why := errors.New("reset")
	require.NoError(t, near.Abort(why))
	got, err := io.ReadAll(far)
	require.Equal(t, "half of a mess", string(got))
	require.ErrorIs(t, err, why)
	_, err = far.Write([]byte("too late"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

// The end of either side wakes who waits on the other.
func TestPipeEndWakes(t *testing.T) {
	near, far := testPipe(t)
	read, written := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := far.Read(make([]byte, 1))
		read <- err
	}()
	go func() {
		_, err := far.Write(make([]byte, 2*streamSize)) // more than there is room for
		written <- err
	}()
	require.Eventually(t, func() bool {
		near.in.mu.Lock()
		defer near.in.mu.Unlock()
		return near.in.size == streamSize
	}, pipeTimeout, time.Millisecond)
	require.NoError(t, near.Close())
	require.Equal(t, io.EOF, <-read)
	require.ErrorIs(t, <-written, io.ErrClosedPipe)
}

// A deadline that passes wakes who waits, one that has passed is in the way until it is
// moved, and no byte is lost over it.
func TestPipeDeadlines(t *testing.T) {
	near, far := testPipe(t)
	require.NoError(t, far.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
	_, err := far.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, near.SetWriteDeadline(time.Now().Add(10*time.Millisecond)))
	n, err := near.Write(make([]byte, streamSize+1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Equal(t, streamSize, n)
	_, err = near.Write([]byte("x"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	require.NoError(t, far.SetReadDeadline(time.Now().Add(pipeTimeout)))
	require.NoError(t, near.SetWriteDeadline(time.Time{}))
	_, err = io.ReadFull(far, make([]byte, streamSize))
	require.NoError(t, err)
	_, err = near.Write([]byte("x"))
	require.NoError(t, err)
	_, err = io.ReadFull(far, make([]byte, 1))
	require.NoError(t, err)
}

// Nobody holds a buffer while nothing is on the way.
func TestPipeGivesItsBufferBack(t *testing.T) {
	near, far := testPipe(t)
	_, err := near.Write([]byte("x"))
	require.NoError(t, err)
	require.NotNil(t, far.in.buf)
	_, err = far.Read(make([]byte, 10))
	require.NoError(t, err)
	require.Nil(t, far.in.buf)
}
