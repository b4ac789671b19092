package http_test

import (
	"strings"
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/http"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, http.Protocol) }

func TestMatch(t *testing.T) {
	for _, first := range []string{
		"OPTIONS * HTTP/1.1\r\nConnection: Upgrade\r\nHost: localhost:631\r\nUpgrade: TLS/1.2,TLS/1.1,TLS/1.0\r\n\r\n",
		"GET /printers HTTP/1.1\r\nhost: a\r\nupgrade: h2c, tls/1.0\r\nconnection: keep-alive, UPGRADE\r\nContent-Length: 0\r\n\r\n",
		"HEAD / HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/9\r\nConnection: foo\r\nConnection: Upgrade\r\n\r\n",
	} {
		dialoguetest.Match(t, http.Protocol, first)
	}
	const ask = "Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n"
	for name, bytes := range map[string]string{
		"another method":         "P",
		"a method like it":       "GETS",
		"ClientHello":            "\x16",
		"no upgrade":             "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"another upgrade":        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"not in Connection":      "OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/1.0\r\n\r\n",
		"no list":                "OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: TLS/1.0\r\nConnection: Upgraded\r\n\r\n",
		"HTTP/1.0":               "OPTIONS * HTTP/1.0\r\nHost: a\r\n" + ask + "\r\n",
		"HTTP/2":                 "GET * HTTP/2.0\r\n",
		"a body":                 "GET / HTTP/1.1\r\nHost: a\r\n" + ask + "Content-Length: 1\r\n\r\n",
		"a body in chunks":       "GET / HTTP/1.1\r\nHost: a\r\n" + ask + "Transfer-Encoding: chunked\r\n\r\n",
		"no Host":                "OPTIONS * HTTP/1.1\r\n" + ask + "\r\n",
		"a bare LF":              "OPTIONS * HTTP/1.1\n",
		"a folded line":          "OPTIONS * HTTP/1.1\r\nHost: a\r\n Upgrade: TLS/1.0\r\n",
		"more than is looked at": "OPTIONS * HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 16<<10-len("OPTIONS * HTTP/1.1\r\nHost: a\r\nX: ")),
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, http.Protocol, bytes) })
	}
}
