package l4starttls_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// around is what Caddy and caddy-l4 say around a message, and the place that comes behind it.
var around = regexp.MustCompile(`(?m)^(parsing caddyfile tokens for 'layer4': |loading layer4 app module: .*: provision layer4\.handlers\.[a-z_]+: |` +
	`warn layer4\.handlers\.[a-z_]+: )(.*), at Caddyfile:[0-9]+$`)

// mistakes are the messages of all mistakes in testdata.
func mistakes(t *testing.T) map[string]string {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	messages := map[string]string{}
	for _, file := range files {
		name := filepath.Base(file)
		if !strings.HasPrefix(name, "mistake_") && !strings.HasPrefix(name, "warning_") {
			continue
		}
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		found := around.FindAllStringSubmatch(string(content), -1)
		require.NotEmpty(t, found, "%s: no message that says where it is", file)
		for _, message := range found {
			messages[strings.Replace(message[2], "{protocols}", "...", 1)] = file // whose list needs no upkeep
		}
	}
	return messages
}

// The list of mistakes has all of their messages, and no others but those that only a
// connection shows.
func TestDocumentedMistakes(t *testing.T) {
	const document = "docs/mistakes.md"
	messages := mistakes(t)
	require.NotEmpty(t, messages)
	documented := map[string]bool{}
	for _, block := range blocks(t, document) {
		for line := range strings.Lines(block.text) {
			documented[strings.TrimSpace(line)] = true
		}
	}
	for message, file := range messages {
		require.True(t, documented[message], "%s: not in %s:\n%s", file, document, message)
	}
	for message := range documented {
		if !strings.HasPrefix(message, "refused connection: ") {
			require.Contains(t, messages, message, "%s: no longer said", document)
		}
	}
}
