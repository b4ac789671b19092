package interop

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// blackboxModules are examples that come with Prometheus' blackbox_exporter, with a change
// in each: our CA, without which its certificates are trusted by nobody, and the name in
// them, since the target is an address. %[1]s is both.
//
// pop3s_banner has one change more. As it is, "^+OK" is a regular expression that repeats the
// beginning of a line, and so matches no POP3 server.
const blackboxModules = `modules:
  imap_starttls:
    prober: tcp
    timeout: 5s
    tcp:
      query_response:
        - expect: "OK.*STARTTLS"
        - send: ". STARTTLS"
        - expect: "OK"
        - starttls: true
        - send: ". capability"
        - expect: "CAPABILITY IMAP4rev1"
%[1]s
  smtp_starttls:
    prober: tcp
    timeout: 5s
    tcp:
      query_response:
        - expect: "^220 ([^ ]+) ESMTP (.+)$"
        - send: "EHLO prober\r"
        - expect: "^250-STARTTLS"
        - send: "STARTTLS\r"
        - expect: "^220"
        - starttls: true
        - send: "EHLO prober\r"
        - expect: "^250-AUTH"
        - send: "QUIT\r"
%[1]s
  pop3s_banner:
    prober: tcp
    tcp:
      query_response:
      - expect: "^\\+OK"
      tls: true
%[1]s
  pop3_banner:
    prober: tcp
    tcp:
      query_response:
      - expect: "^\\+OK"
%[1]s
`

// blackboxExamples is where Debian keeps them, unless documents are left out.
const blackboxExamples = "/usr/share/doc/prometheus-blackbox-exporter/examples"

// TestBlackboxExporter has the exporter probe what the example modules are for. POP3 is asked
// for its greeting in TLS and in plaintext, on one port.
func TestBlackboxExporter(t *testing.T) {
	t.Parallel()
	need(t, "prometheus-blackbox-exporter")
	mail := startMailBehind(t, "implicit_tls")
	exporter := startBlackbox(t, mail.Root())
	for module, proto := range map[string]string{
		"smtp_starttls": "smtp", "imap_starttls": "imap", "pop3s_banner": "pop3", "pop3_banner": "pop3",
	} {
		t.Run(module, func(t *testing.T) {
			report := probeWith(t, exporter, module, mail.addr[proto])
			require.Contains(t, report, "\nprobe_success 1\n")
			if module != "pop3_banner" {
				require.Contains(t, report, `probe_tls_version_info{version="TLS 1.3"} 1`)
			}
		})
	}
}

// TestBlackboxModulesAreTheExamples compares the modules with those of the package.
func TestBlackboxModulesAreTheExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(blackboxExamples, "example.yml"))
	if err != nil {
		unavailable(t, "the package's examples are not installed: %v", err)
	}
	for _, name := range []string{"imap_starttls", "smtp_starttls"} {
		module := regexp.MustCompile(`(?m)^  ` + name + `:\n(    .*\n)+`).FindString(string(text))
		require.NotEmpty(t, module)
		require.Contains(t, blackboxModules, module)
	}
}

// startBlackbox runs the exporter, which verifies certificates by a CA, and returns its address.
func startBlackbox(t testing.TB, ca string) (addr string) {
	t.Helper()
	addr = freeAddr(t)
	trust := fmt.Sprintf("      tls_config:\n        ca_file: %s\n        server_name: %s", ca, mailHost)
	config := writeFile(t, t.TempDir(), "blackbox.yml", fmt.Sprintf(blackboxModules, trust))
	startProcess(t, "prometheus-blackbox-exporter", "--config.file="+config, "--web.listen-address="+addr)
	waitTCP(t, addr)
	return addr
}

// probeWith returns the metrics of one probe, and what the exporter did for them.
func probeWith(t testing.TB, exporter, module, target string) string {
	t.Helper()
	query := url.Values{"module": {module}, "target": {target}, "debug": {"true"}}
	response, err := http.Get("http://" + exporter + "/probe?" + query.Encode())
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
	return strings.ReplaceAll(string(body), "\r", "")
}
