package upgrade_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const (
	modulePath   = "github.com/l4starttls/caddy-l4-starttls/"
	dialoguePath = modulePath + "upgrade/dialogue"
)

// imports are those of the files in a folder that are no tests.
func imports(t *testing.T, folder string) (paths []string) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			paths = append(paths, path)
		}
	}
	require.NotEmpty(t, paths, "no files in %s", folder)
	return paths
}

// protocolFolders are the folders below this one that have transcripts.
func protocolFolders(t *testing.T) (folders []string) {
	for _, p := range upgrade.Protocols() {
		folders = append(folders, filepath.Dir(folder(t, p)))
	}
	slices.Sort(folders)
	return slices.Compact(folders)
}

// cryptography is what protocols have in themselves.
var cryptography = map[string][]string{
	"mysql": {"crypto/rand", "crypto/rsa", "crypto/sha1", "crypto/x509"},
	"xmpp":  {"crypto/rand"},
}

// A protocol is made of the kit and of nothing else that could do I/O, keep time or share
// state.
func TestProtocolsImportTheKitAlone(t *testing.T) {
	forbidden := []string{"net", "time", "sync", "os", "io", "context", "log", "syscall", "crypto", "runtime", "unsafe", "reflect", "plugin"}
	for _, folder := range protocolFolders(t) {
		paths := imports(t, folder)
		require.Contains(t, paths, dialoguePath, folder)
		for _, path := range paths {
			first, _, _ := strings.Cut(path, "/")
			switch {
			case path == dialoguePath, slices.Contains(cryptography[folder], path):
			case strings.Contains(first, "."):
				require.Fail(t, "not of the standard library", "%s imports %s", folder, path)
			default:
				require.NotContains(t, forbidden, first, "%s imports %s", folder, path)
			}
		}
	}
}

// The kit knows no protocol, and nothing below here knows Caddy.
func TestNothingHereImportsCaddy(t *testing.T) {
	err := filepath.WalkDir(".", func(folder string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if files, _ := filepath.Glob(filepath.Join(folder, "*.go")); len(files) == 0 {
			return nil
		}
		for _, path := range imports(t, folder) {
			require.NotContains(t, path, "caddyserver/", folder)
			require.NotContains(t, path, "mholt/", folder)
			if folder == "dialogue" {
				require.NotContains(t, path, modulePath, folder)
			}
		}
		return nil
	})
	require.NoError(t, err)
}
