package interop

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, b := range []*build{&amqpTools, &caddyBuild, &dnsCaddyBuild, &gomailTools, &mysqlTools, &mysql2Package, &mysqlJava, &pebbleBuild, &tdsTools} {
		if b.dir != "" {
			os.RemoveAll(b.dir)
		}
	}
	os.Exit(code)
}

// A build is made of programs that the tests need, at most once in a run.
type build struct {
	module   string // its folder
	packages []string
	command  func(dir string) []string // in place of Go's, for what is not of Go

	once sync.Once
	dir  string
	err  error
}

// caddyBuild is the Caddy under test.
var caddyBuild = build{module: "..", packages: []string{"./cmd/caddy"}}

// dnsCaddyBuild is one with a DNS provider.
var dnsCaddyBuild = build{module: "..", packages: []string{"./interop/testdata/dnscaddy"}}

// programs returns the folder with the programs.
func (b *build) programs() (string, error) {
	b.once.Do(b.make)
	return b.dir, b.err
}

func (b *build) make() {
	if b.dir, b.err = os.MkdirTemp("", "l4starttls-programs"); b.err != nil {
		return
	}
	command := append([]string{"go", "build", "-o", b.dir + "/"}, b.packages...)
	if b.command != nil {
		command = b.command(b.dir)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = b.module
	if out, err := cmd.CombinedOutput(); err != nil {
		b.err = fmt.Errorf("%q: %w\n%s", command, err, out)
	}
}

// caddyBinary returns a Caddy with this plugin: that of CADDY_BIN, or ./cmd/caddy.
func caddyBinary(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("CADDY_BIN"); path != "" {
		return path
	}
	dir, err := caddyBuild.programs()
	require.NoError(t, err)
	return dir + "/caddy"
}
