package integration_test

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	starttlsprobe "github.com/l4starttls/caddy-l4-starttls/probe"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// What monitoring asks for has an exit status of its own, behind all that is worse.
func TestProbeWarns(t *testing.T) {
	ca := newTestCA(t)
	address := listenAndServe(t, upgrading(upgrade.IMAP, serverWith(issue(t, "Mail", ca.intermediate, nil))))
	for flags, want := range map[string]int{
		"--warn-days 100": 0, "--warn-days 101": 8, "--warn-days 101 --server-name x.example.com": 4,
		"--warn-days 101 --server-name x.example.com --insecure": 8,
	} {
		status, p := probeJSON(t, append([]string{"imap", address, "--ca", ca.file}, strings.Fields(flags)...)...)
		require.Equal(t, want, status, flags)
		require.Equal(t, !strings.HasSuffix(flags, " 100"), p.Warning != "", flags)
	}
}

// Files that are named are read, and what they are for is done.
func TestProbeFlags(t *testing.T) {
	ca, dir := newTestCA(t), t.TempDir()
	address := listenAndServe(t, upgrading(upgrade.SMTP, serverWith(issue(t, "Mail", ca.intermediate, nil))))
	certificate, key := testkit.PEM(t, issue(t, "Client", ca.root, nil))
	files := map[string]string{
		"cert.pem": string(certificate), "key.pem": string(key),
		"policy.txt": "version: STSv1\nmode: testing\nmx: 127.0.0.1\nmax_age: 1\n",
		"other.txt":  "version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 1\n",
	}
	for name, text := range files {
		files[name] = testkit.WriteFile(t, dir, name, text)
	}
	status, p := probeJSON(t, "smtp", address, "--ca", ca.file, "--pem", "--tls-versions", "-4", "--hello", "probe.example.com",
		"--cert", files["cert.pem"], "--key", files["key.pem"], "--mta-sts", files["policy.txt"])
	require.Zero(t, status, "%+v", p)
	require.Contains(t, p.Certificates[0].PEM, "BEGIN CERTIFICATE")
	require.Len(t, p.Versions, 4)
	require.Equal(t, "EHLO probe.example.com\r\n", p.Dialogue[1].Text)
	require.Equal(t, "not asked for", p.ClientCertificate)
	require.True(t, p.MTASTS.Verified)

	status, p = probeJSON(t, "smtp", address, "--ca", ca.file, "--mta-sts", files["other.txt"])
	require.Equal(t, 4, status)
	require.Equal(t, []string{"the policy does not allow 127.0.0.1"}, p.MTASTS.Problems)

	status, p = probeJSON(t, "smtp", address, "--ca", ca.file, "--tlsa")
	require.Equal(t, 4, status)
	require.Len(t, p.DANE.Problems, 1)
}

// A server verifies for which TLS begins with the first byte, too, where a protocol has a port for
// that.
func TestProbeVerifiesImplicitTLS(t *testing.T) {
	ca := newTestCA(t)
	certificate, probed := issue(t, "Mail", ca.intermediate, nil), 0
	for _, proto := range upgrade.Protocols() {
		if proto.ImplicitPort == 0 {
			continue
		}
		probed++
		config := &tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: proto.ALPN}
		address := listenAndServe(t, func(raw net.Conn) {
			conn := tls.Server(raw, config)
			if conn.Handshake() == nil {
				_ = conn.Close()
			}
		})
		status, p := probeJSON(t, proto.Name, address, "--ca", ca.file, "--implicit")
		require.Zero(t, status, "%s: %+v", proto.Name, p)
		require.True(t, p.ImplicitTLS)
		require.Empty(t, p.Dialogue)
		require.Equal(t, append(proto.ALPN, "")[0], p.TLS.ALPN)
	}
	require.NotZero(t, probed)
}

// Several servers are several reports in one object, and the worst of them counts.
func TestProbeSeveral(t *testing.T) {
	ca := newTestCA(t)
	address := listenAndServe(t, upgrading(upgrade.SMTP, serverWith(issue(t, "Mail", ca.intermediate, nil))))
	several := func(args ...string) (status int, s *starttlsprobe.Summary) {
		status, out := starttlsProbe(t, append(args, "--ca", ca.file, "--json")...)
		s = new(starttlsprobe.Summary)
		require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(out, `"times_ms"`, `"_"`)), s), out)
		return status, s
	}
	status, s := several("smtp", address, "--all-addresses")
	require.Zero(t, status)
	require.Nil(t, s.Domain)
	require.Len(t, s.Reports, 1)
	require.Equal(t, "verified", s.Reports[0].Outcome)

	status, s = several("smtp", "--mx", "example.com", "--resolver", freeAddress(t))
	require.Equal(t, 6, status)
	require.Empty(t, s.Reports)
	require.Contains(t, s.Domain.Error, "refused")

	status, p := probeJSON(t, "smtp", "mx.example.com", "--resolver", freeAddress(t), "--timeout", "2s")
	require.Equal(t, 6, status)
	require.Equal(t, "unreachable", p.Outcome)
}

// A report in a file has no colours, nor has one for whoever does not want any.
func TestProbeHasNoColors(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer out.Close()
	p := &process{instance: newInstance(t)}
	cmd := p.command("starttls-probe", "smtp", freeAddress(t))
	cmd.Stdout = out
	require.Error(t, cmd.Run())
	require.Equal(t, 6, cmd.ProcessState.ExitCode())
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	require.Contains(t, string(text), "Result:           unreachable, ")
	require.NotContains(t, string(text), "\x1b")
}
