package interop

import (
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestClientsThatDistrust has the two universal test clients meet a certificate that they do
// not trust, with the versions of TLS in which they say so in different ways. Each time the
// log names it.
func TestClientsThatDistrust(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	need(t, "gnutls-cli")
	f := startFront(t, "smtp", []string{mailHost}, greetingBackend(t, "220 mx.example.com ESMTP\r\n"), "log")
	other := newAuthority(t).file
	var entries int
	for _, version := range []string{"1.2", "1.3"} {
		for _, client := range [][]string{
			{"openssl", "s_client", "-starttls", "smtp", "-connect", f.addr, "-servername", mailHost, "-no-CAfile", "-no-CApath", "-no-CAstore",
				"-verify_return_error", "-tls" + strings.ReplaceAll(version, ".", "_")},
			{"gnutls-cli", "--starttls-proto", "smtp", "--sni-hostname", mailHost, "--verify-hostname", mailHost, "--x509cafile", other,
				"--priority", "NORMAL:-VERS-ALL:+VERS-TLS" + version, "--port", port(t, f.addr), "localhost"},
		} {
			t.Run(client[0]+" "+version, func(t *testing.T) {
				out, err := run(t, clientTimeout, "", client[0], client[1:]...)
				require.Error(t, err, out)
				require.Regexp(t, `(?i)unable to get local issuer|self.signed|not trusted|issuer is unknown`, out)
				entries++
				eventually(t, startTimeout, "the entry", func() bool { return len(f.sessions()) >= entries })
				require.Len(t, f.sessions(), entries)
				entry := f.sessions()[entries-1]
				require.Equal(t, "distrusted", entry.Outcome)
				require.Contains(t, entry.Error, "peer does not trust our certificate: remote error: tls: ")
			})
		}
	}
}

// A sessionEntry is one of the access log.
type sessionEntry struct{ Logger, Outcome, Error string }

// sessions are the entries of the access log, but for connections that have said nothing.
func (c *caddyServer) sessions() (entries []sessionEntry) {
	for line := range strings.Lines(c.Log()) {
		var entry sessionEntry
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Logger == "layer4.starttls.access" && entry.Outcome != "gone" {
			entries = append(entries, entry)
		}
	}
	return entries
}

// greetingBackend greets, and waits for the end.
func greetingBackend(t testing.TB, greeting string) (addr string) {
	t.Helper()
	return serveEach(t, func(conn net.Conn) {
		defer conn.Close()
		_, _ = io.WriteString(conn, greeting)
		_, _ = io.Copy(io.Discard, conn)
	})
}
