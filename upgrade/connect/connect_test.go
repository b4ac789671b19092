package connect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/connect"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, connect.Protocol) }

func TestMatch(t *testing.T) {
	dialoguetest.Match(t, connect.Protocol, "CONNECT ")
	for name, bytes := range map[string]string{
		"another request": "G", "a method like it": "CONNECTE", "lower case": "c", "ClientHello": "\x16", "another protocol": "CONN-",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, connect.Protocol, bytes) })
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name, value string
		client      bool
		why         string
	}{
		{"target", "origin.example.com:443", true, ""},
		{"target", "[2001:db8::1]:25", true, ""},
		{"target", "origin.example.com", true, "must be one host with a port"},
		{"target", "a:1 b:2", true, "must be one host"},
		{"target", "*.example.com:443", true, "must be one host"},
		{"target", "a:0", true, "must be one host"},
		{"target", "a:65536", true, "must be one host"},
		{"target", "a:+1", true, "must be one host"},
		{"target", "a:01", true, "must be one host"},
		{"target", "http://a:1", true, "must be one host"},
		{"target", "a:1", false, "for a client alone"},
		{"targets", "a.example:443 *.b.example:25 [::1]:1", false, ""},
		{"targets", "a.example:443, b.example:25", false, "must be hosts with ports"},
		{"targets", "a:1", true, "for a server alone"},
		{"proxy_auth", "user:pass:word", true, ""},
		{"proxy_auth", "user:", true, ""},
		{"proxy_auth", "secret", true, "must be a user and a password"},
		{"proxy_auth", ":secret", true, "must be a user and a password"},
		{"proxy_auth", "user:secret\n", true, "must not contain control characters"},
	} {
		err := connect.Protocol.CheckOptions(map[string]string{c.name: c.value}, c.client)
		if c.why == "" {
			require.NoError(t, err, c.value)
			continue
		}
		require.ErrorContains(t, err, c.why, c.value)
		require.NotContains(t, err.Error(), "secret", "a password is not told")
	}
}
