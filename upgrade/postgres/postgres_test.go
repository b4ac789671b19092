package postgres_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/postgres"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, postgres.Protocol) }

func TestMatch(t *testing.T) {
	dialoguetest.Match(t, postgres.Protocol, "\x00\x00\x00\x08\x04\xd2\x16\x2f")
	dialoguetest.Match(t, postgres.Protocol, "\x00\x00\x00\x08\x04\xd2\x16\x30")
	for name, bytes := range map[string]string{
		"CancelRequest":      "\x00\x00\x00\x10",
		"StartupMessage":     "\x00\x00\x00\x21",
		"empty one":          "\x00\x00\x00\x08\x00",
		"another request":    "\x00\x00\x00\x08\x04\xd2\x16\x31",
		"ClientHello":        "\x16",
		"little endian":      "\x08",
		"HTTP":               "G",
		"SSLRequest, longer": "\x00\x00\x00\x09",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, postgres.Protocol, bytes) })
	}
}
