package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// loadTimes are so long that only a client which stalls reaches them.
var loadTimes = stageTimes{time.Minute, time.Minute}

// impatience is the time for negotiations where clients do nothing else than to reach it.
const impatience = 500 * time.Millisecond

// A loadStage is a server in front of a backend that serves every client to its end. It
// counts what the metrics count as well, each side on its own.
type loadStage struct {
	*stage
	backend *steadyBackend
	times   stageTimes
	turns   []turn

	client         traffic // what clients have said and heard
	between, atEnd traffic // what went in front of starttls_upstream, and what the backend heard and said
}

// A traffic is what one side has counted, in octets: up is what the client has said.
type traffic struct{ up, down atomic.Uint64 }

// loadManners are those of TestLoadWithReloads. Those of upstreams without the upgrade are for
// protocols whose plain server says that it has none, and gets all that the client says.
func loadManners(a *authority) []manner {
	verified := []string{"tls_server_name " + upstreamName, "tls_trust_pool file " + a.file}
	stranger := []string{"tls_server_name other.example.com", verified[1]}
	early := func(p *upgrade.Protocol) bool { return p.EarlyDial }
	asked := func(p *upgrade.Protocol) bool { return p.EarlyDial || p.AnsweredInside } // the backend has to be
	says := []string{"smtp", "lmtp", "imap", "pop3", "sieve"}
	fallback := append([]string{"policy optional"}, verified...)
	return []manner{
		{name: "required", accepts: []string{"policy required"}},
		{name: "optional", accepts: []string{"policy optional", "allow_plaintext_auth"}, except: func(p *upgrade.Protocol) bool { return p.EarlyDial || p.AlwaysTLS }},
		{name: "implicit", accepts: []string{"policy required", "implicit_tls 10s"}, except: early},
		{name: "passthrough", accepts: []string{"passthrough"}, secure: "direct", except: asked},
		{name: "impatient", accepts: []string{"policy required"}, except: early},
		{name: "both", accepts: []string{"policy required"}, requests: verified, secure: "upgrade", except: early},
		{name: "upstream", requests: verified, secure: "upgrade"},
		{name: "fallback", requests: fallback, secure: "upgrade", except: early},
		{name: "unverified", requests: stranger, secure: "upgrade"},
		{name: "unreachable", requests: verified},
		{name: "without", requests: fallback, except: func(p *upgrade.Protocol) bool { return !slices.Contains(says, p.Name) }},
	}
}

// newLoadStages makes a stage for each protocol and manner.
func newLoadStages(t testing.TB) (stages []*loadStage) {
	t.Helper()
	a := newAuthority(t)
	config := a.server(t, upstreamName)
	for _, p := range upgrade.Protocols() {
		for _, m := range loadManners(a) {
			if m.except == nil || !m.except(p) {
				stages = append(stages, newLoadStage(t, p, m, config))
			}
		}
	}
	return stages
}

func newLoadStage(t testing.TB, p *upgrade.Protocol, m manner, config *tls.Config) *loadStage {
	t.Helper()
	s := &loadStage{times: loadTimes, stage: &stage{
		manner: m, proto: p, talk: conversationOf(t, p.Name), plain: serverOf(t, p.Name), address: freeAddress(t),
	}}
	s.backend = newSteadyBackend(t, s, config)
	s.upstreams = s.backend.address()
	switch m.name {
	case "impatient":
		s.times.negotiation = impatience
	case "unreachable":
		s.upstreams = refusing(t)
	case "both":
		s.stage.between = "test_counted " + s.address + "\n"
		counted[s.address] = &s.between
		t.Cleanup(func() { delete(counted, s.address) })
	}
	s.turns = s.allTurns()
	return s
}

// loadServers are all of them as the layer4 option has them. The n-th time they are another
// configuration than the one before.
func loadServers(stages []*loadStage, n int) (all string) {
	for _, s := range stages {
		times := s.times
		times.negotiation += time.Duration(n%2) * time.Millisecond
		all += s.caddyfile(times)
	}
	return all
}

// expected is what the metrics of a handler should have counted of the stage's traffic.
func (s *loadStage) expected(handler string) *traffic {
	switch {
	case handler == "starttls" && s.accepts == nil, handler == "starttls_upstream" && s.requests == nil:
		return nil
	case s.name == "without":
		return &s.client
	case s.name == "both" && handler == "starttls":
		return &s.between
	}
	return &s.atEnd
}

// A steadyBackend serves whoever comes, until the client's end.
type steadyBackend struct {
	ln     net.Listener
	stage  *loadStage
	config *tls.Config
	open   atomic.Int64
}

// newSteadyBackend starts one, until the end of the test.
func newSteadyBackend(t testing.TB, s *loadStage, config *tls.Config) *steadyBackend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	b := &steadyBackend{ln: ln, stage: s, config: config}
	go b.accept()
	return b
}

func (b *steadyBackend) address() string { return b.ln.Addr().String() }

func (b *steadyBackend) accept() {
	for {
		raw, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.open.Add(1)
		go b.handle(raw)
	}
}

// handle is one connection. What is said is counted where the handler in front counts it:
// inside the TLS that it originates, and else below all.
func (b *steadyBackend) handle(raw net.Conn) {
	defer b.open.Add(-1)
	defer func() { _ = raw.Close() }()
	var application net.Conn
	below := raw
	if b.stage.secure != "upgrade" {
		below = &countedConn{raw, &b.stage.atEnd}
	}
	err := b.stage.serve(below, b.config, func(conn net.Conn) net.Conn {
		application = conn
		if b.stage.secure == "upgrade" {
			return &countedConn{conn, &b.stage.atEnd}
		}
		return conn
	})
	if err == nil && application != nil {
		_ = application.Close() // with close_notify, if there is TLS
	}
}

// A countedConn counts what its owner hears and says, as a backend does.
type countedConn struct {
	net.Conn
	traffic *traffic
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.traffic.up.Add(uint64(n))
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.traffic.down.Add(uint64(n))
	return n, err
}

// CloseWrite ends one half.
func (c *countedConn) CloseWrite() error {
	if below, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return below.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below.
func (c *countedConn) NetConn() net.Conn { return c.Conn }

// counted has what a counting handler counts, by its name. It is complete before a Caddy runs.
var counted = make(map[string]*traffic)

func init() { caddy.RegisterModule(new(counting)) }

// A counting is a handler that counts what passes it.
type counting struct {
	Name string `json:"name"`
}

// CaddyModule returns the Caddy module information.
func (*counting) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.test_counted", New: func() caddy.Module { return new(counting) }}
}

// UnmarshalCaddyfile reads: test_counted <name>
func (h *counting) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&h.Name) {
		return d.ArgErr()
	}
	return nil
}

// Handle implements layer4.NextHandler.
func (h *counting) Handle(cx *layer4.Connection, next layer4.Handler) error {
	to, ok := counted[h.Name]
	if !ok {
		return fmt.Errorf("nothing counts %q", h.Name)
	}
	return next.Handle(cx.Wrap(&countedConn{cx.Conn, to}))
}

var _ io.ReadWriteCloser = (*countedConn)(nil)
