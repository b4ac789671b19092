package nntp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/nntp"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, nntp.Protocol) }

// A client that is let in after the upgrade hears what one in plaintext hears.
func TestGreeting(t *testing.T) {
	require.Equal(t, "200 %s NNTP server ready\r\n", nntp.Protocol.Greeting)
}
