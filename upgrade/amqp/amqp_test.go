package amqp_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/amqp"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, amqp.Protocol) }

func TestMatch(t *testing.T) {
	dialoguetest.Match(t, amqp.Protocol, "AMQP\x02\x01\x00\x00")
	for name, bytes := range map[string]string{
		"SASL layer":              "AMQP\x03",
		"no layer, or AMQP 0-9-1": "AMQP\x00",
		"another version":         "AMQP\x02\x01\x00\x01",
		"ClientHello":             "\x16",
		"lower case":              "a",
	} {
		t.Run(name, func(t *testing.T) { dialoguetest.NoMatch(t, amqp.Protocol, bytes) })
	}
}
