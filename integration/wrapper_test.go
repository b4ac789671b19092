package integration_test

import (
	"fmt"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/stretchr/testify/require"
)

func init() { caddy.RegisterModule(&returned{}) }

// A returned is a handler that reports what the next one returns.
type returned struct{}

// outcomes has the reports; there is only one Caddy at a time.
var outcomes = make(chan error, 16)

func (*returned) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.test_returned", New: func() caddy.Module { return new(returned) }}
}

func (*returned) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	return nil
}

func (*returned) Handle(cx *layer4.Connection, next layer4.Handler) error {
	err := next.Handle(cx)
	outcomes <- err
	return err
}

// wrapped is a web site in plaintext behind the handlers of a listener wrapper.
const wrapped = `
	default_bind 127.0.0.1
	servers {
		protocols h1
		listener_wrappers {
			layer4 {
				%s
			}
		}
	}
`

// A listener wrapper takes a connection away that no route has dealt with, and ends
// its own handling with an error of its own. caddy-l4 does that once the handlers have
// returned, so starttls never sees that error, and must have left the connection intact.
func TestListenerWrapperTakesTheConnectionOver(t *testing.T) {
	if raceDetected() {
		t.Skip("caddy-l4 counts the bytes of such a connection while others already use it, whatever its handlers are")
	}
	const handlers = "test_returned\n starttls line mail.example.com\n test_returned\n"
	for name, routes := range map[string]string{
		"route":           "route {\n" + handlers + "}",
		"matched":         "@local remote_ip 127.0.0.1\n route @local {\n" + handlers + "}",
		"subroute around": "route {\n subroute {\n route {\n" + handlers + "}\n }\n }",
		"subroute behind": "route {\n" + handlers + "subroute {\n @other upgraded sni other.example.com\n route @other {\n close\n }\n }\n }",
		"route behind":    "route {\n" + handlers + "}\n @ours upgraded\n route @ours {\n subroute\n }",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "line")
			c := startWrapped(t, routes, s.address)
			p, err := s.dial(c.trust())
			require.NoError(t, err)
			defer func() { _ = p.raw.Close() }()
			require.NoError(t, p.run([]step{{SendText: "STARTTLS\r\n"}, {StartTLS: true}}))
			for range 2 {
				requireNoOutcome(t)
			}
			for range 2 {
				require.NoError(t, p.run([]step{
					{TLSSendText: "GET / HTTP/1.1\r\nHost: " + s.address + "\r\n\r\n"}, {Expect: `(?s)^HTTP/1.1 200 .*from the site$`},
				}))
			}
		})
	}
}

// raceDetected reports whether the race detector is on.
func raceDetected() bool {
	info, _ := debug.ReadBuildInfo()
	return slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// startWrapped runs a Caddy with a web site behind routes.
func startWrapped(t *testing.T, routes, address string) *instance {
	t.Helper()
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	site := "http://" + address + " {\n respond \"from the site\"\n}\n"
	c.load(c.caddyfile("", fmt.Sprintf(wrapped, routes)) + site)
	c.awaitCertificates("mail.example.com")
	return c
}

// requireNoOutcome waits until a handler has returned, without an error.
func requireNoOutcome(t *testing.T) {
	t.Helper()
	select {
	case err := <-outcomes:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "the handlers do not return")
	}
}
