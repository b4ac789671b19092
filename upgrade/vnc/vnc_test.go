package vnc_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/vnc"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, vnc.Protocol) }
