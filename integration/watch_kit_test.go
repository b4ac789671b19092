package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
)

// entries are the lines of the log that satisfy a condition, with all their fields.
func (c *instance) entries(condition func(map[string]any) bool) (found []map[string]any) {
	file, err := os.Open(c.logFile())
	require.NoError(c.t, err)
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var entry map[string]any
		if json.Unmarshal(lines.Bytes(), &entry) == nil && condition(entry) {
			found = append(found, entry)
		}
	}
	return found
}

// awaitEntries waits for so many of them.
func (c *instance) awaitEntries(n int, condition func(map[string]any) bool) []map[string]any {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return len(c.entries(condition)) >= n }, patience, 20*time.Millisecond, "no such entry")
	found := c.entries(condition)
	require.Len(c.t, found, n)
	return found
}

// accessOf is for the entries of sessions.
func accessOf(name string) func(map[string]any) bool {
	return func(entry map[string]any) bool { return entry["logger"] == "layer4.starttls.access"+name }
}

// withMessage is for what is logged with a message that contains a text.
func withMessage(text string) func(map[string]any) bool {
	return func(entry map[string]any) bool {
		message, _ := entry["msg"].(string)
		return strings.Contains(message, text)
	}
}

// sample is a value of a metric in the registry of the present configuration, or ok is
// false. Labels are by turns a name and a value.
func sample(t testing.TB, name string, labels ...string) (value float64, ok bool) {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			if labelled(metric, labels) {
				return metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount()), true
			}
		}
	}
	return 0, false
}

func labelled(metric *dto.Metric, labels []string) bool {
	has := map[string]string{}
	for _, label := range metric.GetLabel() {
		has[label.GetName()] = label.GetValue()
	}
	for i := 0; i < len(labels); i += 2 {
		if has[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// requireSample requires that a metric becomes as high as wanted above what it was before.
func requireSample(t testing.TB, before, more float64, name string, labels ...string) {
	t.Helper()
	var value float64
	require.Eventually(t, func() bool {
		value, _ = sample(t, name, labels...)
		return value == before+more
	}, patience, 20*time.Millisecond, "%s %q", name, labels)
}

// A listener hears of events.
type eventListener struct {
	mu     sync.Mutex
	events []caddy.Event
}

// heard is what they all have heard.
var heard eventListener

func init() { caddy.RegisterModule(listening{}) }

// listening is the module that hears for a test.
type listening struct{}

// CaddyModule returns the Caddy module information.
func (listening) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.listening", New: func() caddy.Module { return new(listening) }}
}

// Handle implements caddyevents.Handler.
func (listening) Handle(_ context.Context, event caddy.Event) error {
	heard.mu.Lock()
	defer heard.mu.Unlock()
	heard.events = append(heard.events, event)
	return nil
}

var _ caddyevents.Handler = listening{}

// awaitEvent returns the next event of a name.
func awaitEvent(t testing.TB, name string) map[string]any {
	t.Helper()
	var data map[string]any
	require.Eventually(t, func() bool {
		heard.mu.Lock()
		defer heard.mu.Unlock()
		for i, event := range heard.events {
			if event.Name() == name {
				data = event.Data
				heard.events = append(heard.events[:i], heard.events[i+1:]...)
				return true
			}
		}
		return false
	}, patience, 20*time.Millisecond, "no event %s", name)
	return data
}

// loadListening loads a configuration in which the test hears of events.
func (c *instance) loadListening(caddyfile string, events ...string) {
	c.t.Helper()
	var config map[string]any
	require.NoError(c.t, json.Unmarshal(c.adapt(caddyfile), &config))
	config["apps"].(map[string]any)["events"] = map[string]any{"subscriptions": []any{map[string]any{
		"events": events, "handlers": []any{map[string]any{"handler": "listening"}},
	}}}
	text, err := json.Marshal(config)
	require.NoError(c.t, err)
	require.NoError(c.t, caddy.Load(text, true))
}
