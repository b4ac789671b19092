package prefixconn_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
)

// A stub is a connection below that yields a text, and then err.
type stub struct {
	net.Conn
	io.Reader
	closed bool
}

func (s *stub) Read(p []byte) (int, error) { return s.Reader.Read(p) }

func (s *stub) Close() error {
	s.closed = true
	return nil
}

func over(text string) *stub {
	r := iotest.ErrReader(io.EOF)
	if text != "" {
		r = &reader{text: text}
	}
	return &stub{Reader: r}
}

// A reader yields its text at once, and then the end.
type reader struct{ text string }

func (r *reader) Read(p []byte) (int, error) {
	if r.text == "" {
		return 0, io.EOF
	}
	n := copy(p, r.text)
	r.text = r.text[n:]
	return n, nil
}

func TestPrefixComesFirst(t *testing.T) {
	c := prefixconn.New(over("below"), []byte("prefix "))
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "prefix below", string(all))
}

// A Read yields the prefix or what is below, never waits for the one with the other in
// hand, and says nothing of the end before it.
func TestReadDoesNotStraddle(t *testing.T) {
	c := prefixconn.New(over("below"), []byte("abc"))
	p := make([]byte, 16)
	for _, want := range []string{"abc", "below"} {
		n, err := c.Read(p)
		require.NoError(t, err)
		require.Equal(t, want, string(p[:n]))
	}
	_, err := c.Read(p)
	require.Equal(t, io.EOF, err)

	c = prefixconn.New(over(""), []byte("abc"))
	n, err := c.Read(p[:2])
	require.NoError(t, err)
	require.Equal(t, "ab", string(p[:n]))
	require.Equal(t, 1, c.Buffered())
	n, err = c.Read(nil)
	require.NoError(t, err)
	require.Zero(t, n)
	n, err = c.Read(p)
	require.NoError(t, err)
	require.Equal(t, "c", string(p[:n]))
}

func TestWithoutPrefix(t *testing.T) {
	c := prefixconn.New(over("below"), nil)
	require.Zero(t, c.Buffered())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "below", string(all))
}

// What is put back is read next, in front of what was there, also in the middle of it.
func TestUnread(t *testing.T) {
	c := prefixconn.New(over("below"), []byte("2345"))
	_, err := io.ReadFull(c, make([]byte, 2))
	require.NoError(t, err)
	c.Unread([]byte("23"))
	c.Unread(nil)
	c.Unread([]byte("01"))
	require.Equal(t, 6, c.Buffered())
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "012345below", string(all))
	c.Unread([]byte("again"))
	all, err = io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "again", string(all))
}

// Neither the prefix nor what is put back is written to, even where there is room behind
// it.
func TestCallersBytesAreLeftAlone(t *testing.T) {
	room := []byte("prefix-behind")
	back := []byte("back-behind")
	c := prefixconn.New(over(""), room[:6])
	c.Unread(back[:4])
	all, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, "backprefix", string(all))
	require.Equal(t, "prefix-behind", string(room))
	require.Equal(t, "back-behind", string(back))
}

// One on top of another counts what both have.
func TestBufferedBelow(t *testing.T) {
	below := prefixconn.New(over("x"), []byte("123"))
	c := prefixconn.New(below, []byte("12"))
	require.Equal(t, 5, c.Buffered())
	require.Same(t, below, c.NetConn())
}

// All else is the connection's below.
func TestBelow(t *testing.T) {
	s := over("")
	c := prefixconn.New(s, nil)
	require.ErrorIs(t, c.CloseWrite(), errors.ErrUnsupported)
	require.NoError(t, c.Close())
	require.True(t, s.closed)

	half := &halfCloser{stub: over("")}
	require.NoError(t, prefixconn.New(half, nil).CloseWrite())
	require.True(t, half.ended)
}

type halfCloser struct {
	*stub
	ended bool
}

func (h *halfCloser) CloseWrite() error {
	h.ended = true
	return nil
}
