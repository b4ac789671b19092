package main

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Everything works, on free ports: for the library's client, and as it is printed.
func TestQuickstart(t *testing.T) {
	config, all := onFreePorts(t)
	dir := t.TempDir()
	stop, err := start(t.Context(), dir, config, all)
	require.NoError(t, err)
	defer stop()
	require.NoError(t, check(t.Context(), rootFile(dir), all))
	for _, s := range all {
		t.Run(s.title, func(t *testing.T) {
			needOpenSSL(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := exec.CommandContext(ctx, "sh", "-c", s.command(rootFile(dir))).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Contains(t, string(out), s.expect)
		})
	}
}

// onFreePorts replaces all addresses, which the Caddyfile must have as well.
func onFreePorts(t *testing.T) (config string, all []*service) {
	config, all = caddyfile, services()
	for _, s := range all {
		for _, addr := range []*string{&s.listen, &s.backend} {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer ln.Close()
			require.Contains(t, config, *addr, "the address of "+s.title)
			config = strings.Replace(config, *addr, ln.Addr().String(), 1)
			*addr = ln.Addr().String()
		}
	}
	return config, all
}

// needOpenSSL skips where there is none, unless all peers are required.
func needOpenSSL(t *testing.T) {
	_, err := exec.LookPath("openssl")
	if err == nil {
		return
	}
	if os.Getenv("INTEROP") == "required" {
		t.Fatal(err)
	}
	t.Skip(err)
}
