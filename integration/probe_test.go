package integration_test

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"
	"github.com/stretchr/testify/require"
)

func init() { caddy.RegisterModule(&probe{}) }

// A probe is a handler that reports what it sees of a connection, and passes it on.
type probe struct {
	Key string `json:"key"`
}

// A sighting is what a probe saw.
type sighting struct {
	placeholders map[string]string
	hellos       []l4tls.ClientHelloInfo
	states       int
	traces       traces
	stacks       string // of all goroutines
}

// sightings are channels by the keys of probes.
var sightings sync.Map

// newProbe returns the Caddyfile line of a probe, and what it will report.
func newProbe(t testing.TB) (line string, seen chan *sighting) {
	key, seen := freeAddress(t), make(chan *sighting, 16)
	sightings.Store(key, seen)
	t.Cleanup(func() { sightings.Delete(key) })
	return "test_probe " + key, seen
}

// await returns the next sighting.
func await(t testing.TB, seen chan *sighting) *sighting {
	t.Helper()
	select {
	case s := <-seen:
		return s
	case <-time.After(patience):
		require.FailNow(t, "the next handler was not called")
		return nil
	}
}

func (*probe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.test_probe", New: func() caddy.Module { return new(probe) }}
}

var probedPlaceholders = []string{
	"l4.starttls.protocol", "l4.starttls.server_name", "l4.starttls.hello",
	"l4.tls.server_name", "l4.tls.version", "l4.tls.cipher_suite", "l4.tls.proto", "l4.tls.resumed",
	"l4.tls.client.subject", "l4.tls.client.issuer", "l4.tls.client.san.dns_names.0", "l4.tls.client.fingerprint",
}

func (p *probe) Handle(cx *layer4.Connection, next layer4.Handler) error {
	s := stacks()
	s.placeholders = make(map[string]string)
	s.hellos = l4tls.GetClientHelloInfos(cx)
	s.states = len(l4tls.GetConnectionStates(cx))
	s.traces = tracesOf(cx)
	repl := cx.Replacer()
	for _, name := range probedPlaceholders {
		s.placeholders[name] = repl.ReplaceAll("{"+name+"}", "none")
	}
	if seen, ok := sightings.Load(p.Key); ok {
		seen.(chan *sighting) <- s
	}
	return next.Handle(cx)
}

// ours counts the goroutines that run the project's code, in whole or in part.
func (s *sighting) ours() (n int) {
	for _, stack := range strings.Split(s.stacks, "\n\n") {
		if strings.Contains(stack, "/caddy-l4-starttls.") || strings.Contains(stack, "/caddy-l4-starttls/upgrade.") {
			n++
		}
	}
	return n
}

func (p *probe) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.AllArgs(&p.Key)
	return nil
}

// stacks takes the stacks of all goroutines as a probe does.
func stacks() *sighting {
	buf := make([]byte, 4<<20)
	return &sighting{stacks: string(buf[:runtime.Stack(buf, true)])}
}
