package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	starttlsprobe "github.com/l4starttls/caddy-l4-starttls/probe"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// starttlsProbe runs the command as Caddy does, and returns the exit status and
// what it printed.
func starttlsProbe(t testing.TB, args ...string) (status int, out string) {
	t.Helper()
	command, ok := caddycmd.Commands()["starttls-probe"]
	require.True(t, ok, "not registered")
	cmd := &cobra.Command{Use: command.Name + " " + command.Usage, SilenceUsage: true}
	command.CobraFunc(cmd)
	var printed bytes.Buffer
	cmd.SetOut(&printed)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := cmd.ExecuteContext(ctx); err != nil {
		status = 1
		if code := reflect.Indirect(reflect.ValueOf(err)); code.Kind() == reflect.Struct && code.FieldByName("ExitCode").IsValid() {
			status = int(code.FieldByName("ExitCode").Int())
		}
	}
	return status, printed.String()
}

// A probed is what `--json` prints.
type probed struct {
	Protocol, Address, Outcome, Error, Hint, Warning string

	ServerName     string `json:"server_name"`
	ImplicitTLS    bool   `json:"implicit_tls"`
	PlaintextLogin string `json:"plaintext_login"`
	Tried          []struct{ Address, Error string }
	Dialogue       []struct{ From, Text, Hex string }
	TLS            *struct {
		Version, Group, ALPN string

		CipherSuite string `json:"cipher_suite"`
	}
	Certificates []struct {
		Subject, Issuer string
		Names           []string

		NotBefore time.Time `json:"not_before"`
		NotAfter  time.Time `json:"not_after"`
		DaysLeft  int       `json:"days_left"`
		HoursLeft int       `json:"hours_left"`
		SHA256    string
		KeySHA256 string `json:"key_sha256"`
		PEM       string
	}
	Verification *struct {
		Verified bool
		Problems []string
	}
	Times map[string]float64 `json:"times_ms"`

	Versions          []starttlsprobe.Version `json:"tls_versions"`
	ClientCertificate string                  `json:"client_certificate"`
	TLSARecord        string                  `json:"tlsa_record"`
	DANE              *starttlsprobe.DANE
	MTASTS            *starttlsprobe.MTASTS `json:"mta_sts"`
	Capabilities      []string
	CapabilitiesError string `json:"capabilities_error"`
}

// probeJSON runs the command with --json. There is nothing in the object that is
// not in the type.
func probeJSON(t testing.TB, args ...string) (status int, p *probed) {
	t.Helper()
	status, out := starttlsProbe(t, append(args, "--json")...)
	p = new(probed)
	d := json.NewDecoder(bytes.NewReader([]byte(out)))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(p), out)
	return status, p
}

// A testCA is a root with an intermediate, which issues certificates.
type testCA struct {
	file               string // of the root
	root, intermediate *tls.Certificate
}

func newTestCA(t testing.TB) *testCA {
	ca := new(testCA)
	authority := func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	ca.root = issue(t, "Test Root", nil, authority)
	ca.intermediate = issue(t, "Test Intermediate", ca.root, authority)
	ca.file = filepath.Join(t.TempDir(), "root.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Certificate[0]}
	require.NoError(t, os.WriteFile(ca.file, pem.EncodeToMemory(block), 0o600))
	return ca
}

// issue makes a certificate with its chain, but for the root; with none above it, it
// signs itself.
func issue(t testing.TB, name string, by *tls.Certificate, edit func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	template := testkit.Template("mail.example.com")
	template.Subject.CommonName = name
	template.NotAfter = time.Now().Add(100*24*time.Hour + time.Hour)
	template.IPAddresses = []net.IP{{127, 0, 0, 1}}
	if edit != nil {
		edit(template)
	}
	return testkit.Issue(t, template, testkit.NewKey(t), by)
}

// listenAndServe runs a server for each connection until the test ends.
func listenAndServe(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	return testkit.Serve(t, "127.0.0.1:0", serve)
}

// upgrading is a server that upgrades a protocol, and ends at the first word inside TLS.
func upgrading(proto *upgrade.Protocol, config *upgrade.Config) func(net.Conn) {
	return func(raw net.Conn) {
		conn := upgrade.Server(raw, config)
		var err error
		if proto.Accept != nil {
			conn, err = upgrade.Accept(context.Background(), raw, proto, config)
		} else if _, err = conn.ReadLine(); err == nil { // the line protocol
			err = conn.StartTLS(context.Background())
		}
		if err == nil {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}
}

// saying is a server that says one thing after the other, each behind something
// that the client says, and then waits for the end.
func saying(words ...string) func(net.Conn) {
	return func(conn net.Conn) {
		scratch := make([]byte, 4096)
		for i, w := range words {
			if i > 0 {
				if _, err := conn.Read(scratch); err != nil {
					return
				}
			}
			if _, err := io.WriteString(conn, w); err != nil {
				return
			}
		}
		io.Copy(io.Discard, conn)
	}
}

// hangingUp is saying without the wait at the end.
func hangingUp(words ...string) func(net.Conn) {
	return func(conn net.Conn) {
		scratch := make([]byte, 4096)
		for i, w := range words {
			if i > 0 {
				conn.Read(scratch)
			}
			io.WriteString(conn, w)
		}
	}
}
