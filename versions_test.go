package l4starttls_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The versions that people are told to build with are those that are tested.
func TestDocumentedVersions(t *testing.T) {
	module := readText(t, "go.mod")
	caddy := submatch(t, module, `caddyserver/caddy/v2 (\S+)`)
	l4 := submatch(t, module, `mholt/caddy-l4 (\S+)`)
	language := submatch(t, module, `(?m)^go (\d+\.\d+)`)

	install := readText(t, "docs/install.md")
	require.Contains(t, install, " "+caddy+" | "+l4+" | "+language+" | ")
	require.Equal(t, 2, strings.Count(install, "xcaddy build "+caddy+" --with github.com/mholt/caddy-l4@"+l4+" "))

	image := readText(t, "packaging/Dockerfile")
	require.Contains(t, image, "ARG CADDY_VERSION="+caddy+"\n")
	require.Contains(t, image, "ARG L4_VERSION="+l4+"\n")
	require.Contains(t, image, "golang:"+language+"-")
	xcaddy := submatch(t, image, `ARG XCADDY_VERSION=(\S+)`)
	require.Contains(t, install, "xcaddy@"+xcaddy+"\n")
	require.Contains(t, install, " | "+xcaddy+" |\n")
	require.Contains(t, readText(t, ".github/workflows/ci.yml"), "golang:"+language+"-")

	release := submatch(t, readText(t, "CHANGELOG.md"), `(?m)^## (v\S+?),? `)
	require.Contains(t, install, "caddy-l4-starttls@"+release+"\n")
	require.Contains(t, install, "caddy-l4-starttls@"+release+"=.\n")
	require.Contains(t, image, "caddy-l4-starttls@"+release+"=/src\n")
	require.Contains(t, install, "| "+release+" | ")
}

func readText(t *testing.T, file string) string {
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(content)
}

func submatch(t *testing.T, text, pattern string) string {
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.NotNil(t, found, pattern)
	return found[1]
}
