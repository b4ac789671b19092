package dialogue_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

func TestHTTPFields(t *testing.T) {
	const head = "GET /a HTTP/1.1\r\nHost: \t b \r\nConnection: close, ,Upgrade\r\nX:\r\nconnection: foo\r\n\r\n"
	r, size, err := dialogue.CutHTTPRequest([]byte(head + "more"))
	require.NoError(t, err)
	require.Equal(t, len(head), size)
	require.Equal(t, []string{"GET", "/a", "b"}, []string{r.Method, r.Target, r.Get("HOST")})
	require.Equal(t, []string{"close", "Upgrade", "foo"}, r.List("Connection"))
	require.True(t, r.Has("Y", "x"))
	require.Equal(t, "GET\r\nHost: b\r\nConnection: bar, baz\r\nX: \r\n\r\n", string(r.WithList("connection", []string{"bar", "baz"}).Head("GET")))
	require.Equal(t, "GET\r\nHost: b\r\nX: \r\n\r\n", string(r.WithList("Connection", nil).Head("GET")))
	for n := range len(head) {
		_, size, err := dialogue.CutHTTPRequest([]byte(head[:n]))
		require.NoError(t, err, n)
		require.Zero(t, size, n)
	}
}

func TestHTTPChunks(t *testing.T) {
	for body, want := range map[string]struct {
		size int
		err  error
	}{
		"5\r\nhello\r\n0\r\n\r\nmore":               {15, nil},
		"A;x=y\r\n0123456789\r\n00\r\nT: u\r\n\r\n": {31, nil},
		"5\r\nhello\r\n0\r\n":                       {0, nil},
		"5\nhello\r\n0\r\n\r\n":                     {0, dialogue.ErrMalformed},
		"0x5\r\n":                                   {0, dialogue.ErrMalformed},
		"+5\r\n":                                    {0, dialogue.ErrMalformed},
		"5_0\r\n":                                   {0, dialogue.ErrMalformed},
		"\r\n":                                      {0, dialogue.ErrMalformed},
		"fffffffffffffffff\r\n":                     {0, dialogue.ErrMalformed},
		"1\r\nxy\r\n":                               {0, dialogue.ErrMalformed},
		"0\r\nno trailer\r\n":                       {0, dialogue.ErrMalformed},
	} {
		var chunks dialogue.HTTPChunks
		size, rest := 0, []byte(body)
		for {
			n, over, err := chunks.Next(rest)
			size, rest = size+n, rest[n:]
			if err != nil || n == 0 {
				require.ErrorIs(t, err, want.err, body)
				require.Zero(t, want.size, body)
				break
			}
			if over {
				require.Equal(t, want.size, size, body)
				break
			}
		}
	}
}
