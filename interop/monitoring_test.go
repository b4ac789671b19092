package interop

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// monitoring is where the example is.
var monitoring = filepath.Join("..", "examples", "monitoring")

// TestMonitoringRules has promtool check the example's files, and run its tests of alerts.
func TestMonitoringRules(t *testing.T) {
	t.Parallel()
	need(t, "promtool")
	for _, args := range [][]string{
		{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"},
	} {
		cmd := exec.Command(program("promtool"), args...)
		cmd.Dir = monitoring
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NotContains(t, string(out), "0 rules")
	}
}

// TestMonitoringPrometheus has a Prometheus scrape a Caddy with a session behind it, and
// evaluate what the example's alerts and its dashboard ask for.
func TestMonitoringPrometheus(t *testing.T) {
	t.Parallel()
	need(t, "prometheus", "promtool")
	addr, admin, backend := freeAddr(t), freeAddr(t), startPonger(t)
	startCaddyfile(t, func(storage string) string {
		options := strings.Replace(testOptions(storage), "admin off", "admin "+admin, 1)
		return fmt.Sprintf("{\n%s\nlayer4 {\n%s {\nroute {\nstarttls line mail.example.com\nproxy %s\n}\n}\n}\n}\n", options, addr, backend)
	}, []string{"mail.example.com"}, addr)
	upgradeOnce(t, addr)
	requireMetrics(t, admin)

	dir := t.TempDir()
	for name, words := range map[string][2]string{"prometheus.yml": {"localhost:2019", admin}, "alerts.yml": {}} {
		text, err := os.ReadFile(filepath.Join(monitoring, name))
		require.NoError(t, err)
		changed := strings.ReplaceAll(strings.Replace(string(text), words[0], words[1], 1), "15s", "1s")
		writeFile(t, dir, name, changed)
	}
	address := freeAddr(t)
	startProcess(t, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address)
	p := prometheus("http://" + address)
	eventually(t, startTimeout, "the sample of the session", func() bool {
		return p.value(`caddy_layer4_starttls_negotiations_total{protocol="line",outcome="upgraded"}`) == "1"
	})
	eventually(t, startTimeout, "the end of the session", func() bool {
		return p.value(`caddy_layer4_starttls_sessions_in_flight{protocol="line"}`) == "0"
	})
	for _, expr := range append(dashboardExpressions(t), p.ruleExpressions(t)...) {
		_, err := p.query(expr)
		require.NoError(t, err, expr)
	}
	requireKnownMetrics(t, p, dashboardExpressions(t))
}

// upgradeOnce has one session, from its beginning to its end.
func upgradeOnce(t *testing.T, addr string) {
	t.Helper()
	config := &upgrade.Config{TLS: &tls.Config{InsecureSkipVerify: true}}
	conn, err := upgrade.Dial(t.Context(), "tcp", addr, upgrade.Line, config)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "PING\n")
	require.NoError(t, err)
	line, err := conn.ReadLine()
	require.NoError(t, err)
	require.Equal(t, "PONG", line)
}

// requireMetrics has promtool look at what Caddy serves.
func requireMetrics(t *testing.T, admin string) {
	t.Helper()
	response, err := http.Get("http://" + admin + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	var ours []string
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "caddy_layer4_starttls") {
			ours = append(ours, line)
		}
	}
	require.NotEmpty(t, ours)
	out, err := run(t, 10*time.Second, strings.Join(ours, ""), "promtool", "check", "metrics")
	require.NoError(t, err, out)
}

// prometheus is the address of one.
type prometheus string

// query evaluates an expression.
func (p prometheus) query(expr string) (values []string, err error) {
	var answer struct {
		Status, Error string
		Data          struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := p.get("/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	for _, result := range answer.Data.Result {
		values = append(values, fmt.Sprint(result.Value[1]))
	}
	return values, nil
}

// value is the first one, if there is any.
func (p prometheus) value(expr string) string {
	values, err := p.query(expr)
	if err != nil || len(values) == 0 {
		return ""
	}
	return values[0]
}

func (p prometheus) get(path string, into any) error {
	response, err := http.Get(string(p) + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return json.NewDecoder(response.Body).Decode(into)
}

// ruleExpressions are those of the alerts that Prometheus has loaded.
func (p prometheus) ruleExpressions(t *testing.T) (exprs []string) {
	t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Query, Health, LastError string }
			}
		}
	}
	require.NoError(t, p.get("/api/v1/rules", &answer))
	for _, group := range answer.Data.Groups {
		for _, rule := range group.Rules {
			require.Empty(t, rule.LastError)
			exprs = append(exprs, rule.Query)
		}
	}
	require.NotEmpty(t, exprs)
	return exprs
}

// dashboardExpressions are those of the dashboard, with its variables set.
func dashboardExpressions(t *testing.T) (exprs []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(monitoring, "dashboard.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	for _, panel := range dashboard.Panels {
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			exprs = append(exprs, strings.NewReplacer("$protocol", ".*", "$__rate_interval", "1m").Replace(target.Expr))
		}
	}
	require.NotEmpty(t, exprs)
	return exprs
}

// requireKnownMetrics asserts that what the dashboard shows of clients is there at all.
func requireKnownMetrics(t *testing.T, p prometheus, exprs []string) {
	t.Helper()
	for _, expr := range exprs {
		if strings.Contains(expr, "starttls_upstream") || strings.Contains(expr, "rate(") {
			continue
		}
		values, err := p.query(expr)
		require.NoError(t, err)
		require.NotEmpty(t, values, expr)
	}
}

// TestMonitoringCheck runs the plugin against what it should tell apart. Certificates of the test
// live for hours.
func TestMonitoringCheck(t *testing.T) {
	t.Parallel()
	need(t, "sh")
	f := startFront(t, "imap", []string{mailHost}, startDovecot(t, tlsOff).imap)
	t.Run("of a port where nobody is", func(t *testing.T) {
		requireCheck(t, 2, "CRITICAL", "imap", freeAddr(t))
	})
	for name, c := range map[string]struct {
		status int
		word   string
		args   []string
	}{
		"fine":           {0, "OK", []string{"imap", f.addr, "--server-name", mailHost, "--ca", f.Root(), "--warn-days", "0"}},
		"expires":        {1, "WARNING", []string{"imap", f.addr, "--server-name", mailHost, "--ca", f.Root()}},
		"another name":   {2, "CRITICAL", []string{"imap", f.addr, "--server-name", "mail.example.net", "--ca", f.Root(), "--warn-days", "0"}},
		"no such option": {3, "UNKNOWN", []string{"imap", f.addr, "--warn-weeks", "2"}},
	} {
		t.Run(name, func(t *testing.T) { requireCheck(t, c.status, c.word, c.args...) })
	}
}

func requireCheck(t *testing.T, status int, word string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientTimeout)
	defer cancel()
	check := exec.CommandContext(ctx, filepath.Join(monitoring, "check_starttls"), args...)
	check.Env = append(os.Environ(), "CADDY="+caddyBinary(t))
	out, err := check.CombinedOutput()
	require.Equal(t, status, check.ProcessState.ExitCode(), "%s: %v", out, err)
	require.Contains(t, string(out), "STARTTLS "+word+"\n")
}
