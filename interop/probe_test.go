package interop

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A probeReport is what matters here of what `caddy starttls-probe --json` prints.
type probeReport struct {
	Outcome, Error, Hint string

	PlaintextLogin string `json:"plaintext_login"`
	Dialogue       []struct{ From, Text, Hex string }
	TLS            struct{ Version string }
	Capabilities   []string
	Certificates   []struct{ Names []string }
	Verification   struct {
		Verified bool
		Problems []string
	}
}

// starttlsProbe runs the command.
func starttlsProbe(t testing.TB, args ...string) (status int, out string) {
	t.Helper()
	out, err := run(t, clientTimeout, "", caddyBinary(t), append([]string{"starttls-probe"}, args...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), out
	}
	require.NoError(t, err, out)
	return 0, out
}

func probeJSON(t testing.TB, args ...string) (status int, r probeReport) {
	t.Helper()
	status, out := starttlsProbe(t, append(args, "--json")...)
	require.NoError(t, json.Unmarshal([]byte(out), &r), out)
	return status, r
}

// TestProbe asks servers with a TLS of their own, which demand it.
func TestProbe(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	d, servers := hardenedDovecot(t, ca)
	servers["smtp"] = hardenedPostfix(t, ca, d, "")
	servers["ldap"] = hardenedSlapd(t, ca)
	servers["xmpp"] = hardenedProsody(t, ca)
	servers["postgres"] = &hardened{addr: hardenedPostgres(t, ca).addr}
	for proto, server := range servers {
		t.Run(proto, func(t *testing.T) {
			name, login := upHost, "no"
			switch proto {
			case "xmpp":
				name = xmppHost
			case "pop3":
				login = "yes" // Dovecot announces USER, and then refuses it
			case "ldap", "postgres":
				login = "unknown"
			}
			args := []string{proto, server.addr, "--ca", ca.file}
			status, r := probeJSON(t, append(args, "--server-name", name)...)
			require.Zero(t, status, "%+v", r)
			require.Equal(t, "verified", r.Outcome)
			require.True(t, r.Verification.Verified)
			require.Equal(t, login, r.PlaintextLogin, "%+v", r.Dialogue)
			require.Contains(t, r.TLS.Version, "TLS 1.")
			require.Equal(t, []string{name}, r.Certificates[0].Names)
			require.Equal(t, proto != "postgres", len(r.Capabilities) > 0, "%s: %+v", proto, r)
			require.Equal(t, login == "unknown", r.Dialogue[0].Hex != "", "%+v", r.Dialogue)

			if proto == "xmpp" {
				return // Prosody has no other domain
			}
			status, r = probeJSON(t, append(args, "--server-name", "other.example.com")...)
			require.Equal(t, 4, status, "%+v", r)
			require.Len(t, r.Verification.Problems, 1)
			require.Contains(t, r.Verification.Problems[0], "not other.example.com")
		})
	}
}

// TestProbeWithoutTLS asks servers that have none, and take passwords all the same.
func TestProbeWithoutTLS(t *testing.T) {
	t.Parallel()
	d := startDovecot(t, tlsOff)
	for proto, addr := range map[string]string{
		"imap": d.imap, "pop3": d.pop3, "sieve": d.sieve, "smtp": startPostfix(t, d, ""),
	} {
		status, r := probeJSON(t, proto, addr)
		require.Equal(t, 5, status, "%s: %+v", proto, r)
		require.Equal(t, "not offered", r.Outcome)
		require.Equal(t, "yes", r.PlaintextLogin, proto)
	}
	status, r := probeJSON(t, "postgres", startPostgres(t).addr)
	require.Equal(t, 5, status, "%+v", r)
	require.Equal(t, "unknown", r.PlaintextLogin)
}

// TestProbeIsDocumented has Caddy list the command, and what it exits with.
func TestProbeIsDocumented(t *testing.T) {
	t.Parallel()
	out, err := run(t, clientTimeout, "", caddyBinary(t), "help")
	require.NoError(t, err, out)
	require.Contains(t, out, "starttls-probe")
	status, out := starttlsProbe(t, "--help")
	require.Zero(t, status, out)
	_, statuses, _ := strings.Cut(out, "The exit status is")
	for _, n := range []string{"0", "1", "4", "5", "6", "7"} {
		require.Regexp(t, "(?m)^ +"+n+"  if ", statuses)
	}
	pages := t.TempDir()
	out, err = run(t, clientTimeout, "", caddyBinary(t), "manpage", "--directory", pages)
	require.NoError(t, err, out)
	require.FileExists(t, pages+"/caddy-starttls-probe.8")
}
