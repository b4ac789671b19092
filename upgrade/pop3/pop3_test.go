package pop3_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/pop3"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, pop3.Protocol) }
