package mysql_test

import (
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue/dialoguetest"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/mysql"
)

func TestTranscripts(t *testing.T) { dialoguetest.Play(t, mysql.Protocol) }
