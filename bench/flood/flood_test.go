package main

import (
	"os"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/stretchr/testify/require"
)

// mostAbove is what a stalled negotiation may cost above a connection in a handler that does
// nothing, in bytes.
const mostAbove = 10 << 10

// TestMain is a Caddy where the tests need one.
func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// Each flood leaves others served, costs little, and has no backend.
func TestFloods(t *testing.T) {
	backend, err := startBackend()
	require.NoError(t, err)
	defer func() { _ = backend.Close() }()
	s := &settings{connections: 2000, rate: 200, good: 20, duration: time.Second, perAddress: 50}
	nothing := 0
	for _, f := range s.floods() {
		r, err := s.measure(f, backend)
		require.NoError(t, err, f.name)
		t.Log(r)
		require.Zero(t, r.failed, f.name)
		require.Len(t, r.latencies, 20, f.name)
		require.Zero(t, r.backends, f.name)
		switch {
		case f.name == "nobody":
		case !f.stands:
			require.Positive(t, r.ended, f.name)
		case nothing == 0:
			nothing = r.each.live
			require.Positive(t, nothing)
			require.Contains(t, f.name, "does nothing")
		default:
			require.LessOrEqual(t, r.each.live-nothing, mostAbove, f.name)
		}
	}
}
