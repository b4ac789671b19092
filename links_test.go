package l4starttls_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	// link finds a link's target in Markdown.
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// heading finds a heading's text.
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	// notInAnchor is what GitHub leaves out of the anchor that it makes of a heading.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// A link within the repository leads to a file that is there, and to a heading in it.
func TestDocumentedLinks(t *testing.T) {
	checked := 0
	for _, file := range markdown(t) {
		for _, target := range links(t, file) {
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			path = filepath.Join(filepath.Dir(file), path)
			if strings.HasPrefix(target, "#") {
				path = file
			}
			_, err := os.Stat(path)
			require.NoErrorf(t, err, "%s links to %s", file, target)
			if anchor != "" {
				require.Containsf(t, anchors(t, path), anchor, "%s links to %s", file, target)
			}
			checked++
		}
	}
	require.NotZero(t, checked)
}

// markdown are the Markdown files of the repository, or of the directory if it is none.
func markdown(t *testing.T) (files []string) {
	if listed, err := exec.Command("git", "ls-files", "-z", "*.md").Output(); err == nil {
		for _, file := range strings.Split(string(listed), "\x00") {
			if _, err := os.Stat(file); err == nil {
				files = append(files, file)
			}
		}
	}
	return append(append(files, guides(t)...), "README.md")
}

// links are the targets of a document's links, but for those in code.
func links(t *testing.T, file string) (targets []string) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	text := fence.ReplaceAllString(string(content), "")
	for _, match := range link.FindAllStringSubmatch(text, -1) {
		targets = append(targets, match[1])
	}
	return targets
}

// anchors are those that GitHub makes of a document's headings.
func anchors(t *testing.T, file string) (names []string) {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, match := range heading.FindAllStringSubmatch(string(content), -1) {
		name := notInAnchor.ReplaceAllString(strings.ToLower(match[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}
