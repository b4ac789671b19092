package lenient

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const httpAsk = "GET / HTTP/1.1\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\n\r\n"

var httpReadings = []reading{
	{"upgrade", "http", 0, httpAsk, []string{"upgrade"}},
	{"LF", "http", 0, "GET /\nupgrade :h2c,tls\n\n", []string{"upgrade"}},
	{"folded", "http", 0, "GET / HTTP/1.1\r\nUpgrade:\r\n\tTLS/1.0\r\n\r\n", []string{"upgrade"}},
	{"second", "http", 0, "GET / HTTP/1.1\r\n\r\n\r\n" + httpAsk + httpAsk, []string{"upgrade", "upgrade"}},
	{"body", "http", 0, "POST / HTTP/1.1\r\nContent-Length: 57\r\n\r\n" + httpAsk + "GET / HTTP/1.1\r\n\r\n", nil},
	{"chunks", "http", 0, "POST / HTTP/1.1\r\nTransfer-Encoding: x, chunked\r\n\r\n39;a\r\n" + httpAsk + "\r\n0\r\n\r\n" + httpAsk, []string{"upgrade"}},
	{"another protocol", "http", 0, "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n" + httpAsk, nil},
	{"passwords", "http", Cleartext, "GET / HTTP/1.1\r\nAuthorization: x\r\nProxy-Authorization: y\r\n\r\n", []string{"password", "password"}},
	{"bare", "http", Bare, httpAsk, nil},
}

func TestHTTPAnswers(t *testing.T) {
	b, err := New("http")
	require.NoError(t, err)
	require.Empty(t, b.Greeting())
	got := b.Feed([]byte("GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /c HTTP/1.1\r\n\r\n"))
	answer := func(target string) string { return "HTTP/1.1 200 backend\r\nContent-Length: 3\r\n\r\n" + target + "\n" }
	require.Equal(t, answer("/a")+answer("/b")+answer("/c"), string(got))
}
