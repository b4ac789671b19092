package ftp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/ftp"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, ftp.Protocol) }

// What clients are told of the server's features is not to be configured twice, nor made of
// several lines.
func TestCapabilities(t *testing.T) {
	for capability, why := range map[string]string{
		"UTF8": "", "SIZE": "", "REST STREAM": "", "MLST type*;size*;": "",
		"AUTH TLS": "announced", "prot": "announced", "EPRT": "announced", "": "feature", "a/b": "feature",
	} {
		err := ftp.Protocol.CheckCapability(capability)
		if why == "" {
			require.NoError(t, err, capability)
			continue
		}
		require.ErrorContains(t, err, why, capability)
	}
}
