package tds_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/tds"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, tds.Protocol) }

func TestMatch(t *testing.T) {
	const version = "\x10\x00\x03\xe8\x00\x00"
	head := "\x12\x01\x00\x1a\x00\x00\x01\x00" + "\x00\x00\x0b\x00\x06\x01\x00\x11\x00\x01\xff" + version
	for _, encryption := range []string{"\x00", "\x01", "\x03"} {
		dialoguetest.Match(t, tds.Protocol, head+encryption)
	}
	for name, bytes := range map[string]string{
		"no TLS":               head + "\x02",
		"a client certificate": head + "\x81",
		"LOGIN7":               "\x10",
		"a ClientHello":        "\x16",
		"an answer":            "\x04",
		"more to come":         "\x12\x00",
		"too long":             "\x12\x01\x10\x01",
		"too short":            "\x12\x01\x00\x08",
		"not VERSION":          "\x12\x01\x00\x1a\x00\x00\x01\x00\x01",
		"no ENCRYPTION":        "\x12\x01\x00\x14\x00\x00\x01\x00" + "\x00\x00\x06\x00\x06\xff" + version,
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, tds.Protocol, bytes) })
	}
}
