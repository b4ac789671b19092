package integration_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/mholt/caddy-l4"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// patience bounds every wait. What is waited for comes much sooner, but the machine
// may be busy.
const patience = 20 * time.Second

// Limits that the tests configure. The handshake's is above the two seconds for
// which some testers of STARTTLS listen before they go on.
const (
	negotiationTimeout = 2500 * time.Millisecond
	handshakeTimeout   = 3 * time.Second
)

// An instance is a Caddy in this process. There is only one at a time, so tests
// that load a configuration are not parallel to each other.
type instance struct {
	t    *testing.T
	dir  string
	file string // the log, if it is another than that in dir
}

// newInstance makes a place for a Caddy's storage and log.
func newInstance(t *testing.T) *instance {
	t.Helper()
	// Not t.TempDir: certmagic may still write there when Caddy has stopped, and then that
	// would fail the test.
	dir, err := os.MkdirTemp("", "caddy") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("XDG_DATA_HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", dir)
	return &instance{t: t, dir: dir}
}

// startCaddy runs a Caddy until the end of the test. The servers are those of the
// layer-4 app, the options global ones.
func startCaddy(t *testing.T, servers string, options ...string) *instance {
	t.Helper()
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	c.load(c.caddyfile(servers, options...))
	return c
}

// caddyfile is a whole configuration: nothing is served but what the test wants,
// all certificates are internal, and nothing is left on the machine.
func (c *instance) caddyfile(servers string, options ...string) string {
	return fmt.Sprintf(`{
	admin off
	persist_config off
	local_certs
	skip_install_trust
%s
	layer4 {
%s
	}
}
`, c.common(options), servers)
}

// common is what every configuration has, whichever certificates it is for.
func (c *instance) common(options []string) string {
	return fmt.Sprintf(`	storage file_system %s
	log default {
		output file %s {
			roll_disabled
		}
		format json
		level INFO
	}
%s`, c.dir, c.logFile(), strings.Join(options, "\n"))
}

// adapt turns a Caddyfile into JSON.
func (c *instance) adapt(caddyfile string) []byte {
	c.t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	require.NoError(c.t, err, caddyfile)
	return config
}

// load starts or reloads.
func (c *instance) load(caddyfile string) {
	c.t.Helper()
	require.NoError(c.t, caddy.Load(c.adapt(caddyfile), true), caddyfile)
}

// awaitCertificates returns when there are certificates for all names.
func (c *instance) awaitCertificates(names ...string) {
	c.t.Helper()
	for _, name := range names {
		require.Eventually(c.t, func() bool {
			return len(caddytls.AllMatchingCertificates(name)) > 0
		}, patience, 10*time.Millisecond, "no certificate for %s", name)
	}
}

// trust returns a configuration of clients that trust Caddy's internal CA alone.
func (c *instance) trust() *tls.Config {
	c.t.Helper()
	root, err := os.ReadFile(filepath.Join(c.dir, "pki", "authorities", "local", "root.crt"))
	require.NoError(c.t, err)
	pool := x509.NewCertPool()
	require.True(c.t, pool.AppendCertsFromPEM(root))
	return &tls.Config{RootCAs: pool}
}

// leaves lists the certificates in storage that are no CA's, by subject.
func (c *instance) leaves() []string {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "certificates", "*", "*", "*.crt"))
	require.NoError(c.t, err)
	for i, file := range files {
		files[i] = strings.TrimSuffix(filepath.Base(file), ".crt")
	}
	return files
}

func (c *instance) logFile() string {
	if c.file != "" {
		return c.file
	}
	return filepath.Join(c.dir, "log")
}

// A logEntry is what the tests look at in a line of the log.
type logEntry struct {
	Level    string `json:"level"`
	Logger   string `json:"logger"`
	Message  string `json:"msg"`
	Local    string `json:"local"`
	Remote   string `json:"remote"`
	Protocol string `json:"protocol"`
	Error    string `json:"error"`
}

// logged returns what has been logged with a message.
func (c *instance) logged(message string) (found []logEntry) {
	file, err := os.Open(c.logFile())
	require.NoError(c.t, err)
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var entry logEntry
		if json.Unmarshal(lines.Bytes(), &entry) == nil && entry.Message == message {
			found = append(found, entry)
		}
	}
	return found
}

// freeAddress returns a local address that nobody listens on.
func freeAddress(t testing.TB) string { t.Helper(); return testkit.FreeAddress(t) }

// A site is one layer-4 server that upgrades a protocol in front of a backend.
type site struct {
	protocol string
	talk     *conversation
	address  string
	backend  *backend
	names    []string      // default: those that the protocol's clients ask for
	lines    []string      // in the block of starttls
	before   string        // handlers in front of it
	after    string        // handlers between it and proxy
	match    bool          // begin with the starttls matcher
	timeout  time.Duration // of negotiation and handshake; default: those above
}

// newSite makes one, with a backend that knows the protocol.
func newSite(t testing.TB, protocol string) *site {
	t.Helper()
	s := &site{protocol: protocol, talk: conversationOf(t, protocol), address: freeAddress(t), backend: newBackend(t, protocol, nil)}
	if targets, _ := targetLines(protocol); targets != "" {
		s.lines = []string{targets}
	}
	return s
}

// targetLines are the options of a server and of a client by which the sessions of CONNECT
// may ask for their host, whatever the server's names are.
func targetLines(protocol string) (server, client string) {
	if protocol != "connect" {
		return "", ""
	}
	const target = "mail.example.com:443"
	return fmt.Sprintf("targets %q", target), "target " + target
}

// hostnames are the names that the site is for.
func (s *site) hostnames() []string {
	switch {
	case len(s.names) > 0:
		return s.names
	case s.protocol == "xmpp":
		return []string{"example.org", "a.example.org", "b.example.org"}
	}
	return []string{"mail.example.com"}
}

// String is the server as the layer4 option has it.
func (s *site) String() string {
	matcher, route := "", "route"
	if s.match {
		matcher, route = "@request starttls "+s.protocol, "route @request"
	}
	negotiation, handshake := negotiationTimeout, handshakeTimeout
	if s.timeout > 0 {
		negotiation, handshake = s.timeout, s.timeout
	}
	return fmt.Sprintf(`		%s {
			%s
			%s {
				%s
				starttls %s %s {
					negotiation_timeout %s
					handshake_timeout %s
					%s
				}
				%s
				proxy %s
			}
		}
`, s.address, matcher, route, s.before, s.protocol, strings.Join(s.hostnames(), " "), negotiation, handshake,
		strings.Join(s.lines, "\n"), s.after, s.backend.address())
}

// serve runs a Caddy with the sites, and waits for their certificates.
func serve(t *testing.T, sites ...*site) *instance {
	t.Helper()
	var servers strings.Builder
	var names []string
	for _, s := range sites {
		servers.WriteString(s.String())
		names = append(names, s.hostnames()...)
	}
	c := startCaddy(t, servers.String())
	c.awaitCertificates(names...)
	return c
}

// sitePerProtocol makes a site for each protocol that satisfies a condition, or for
// all.
func sitePerProtocol(t testing.TB, condition func(*upgrade.Protocol) bool) (sites []*site) {
	t.Helper()
	for _, p := range upgrade.Protocols() {
		if condition == nil || condition(p) {
			sites = append(sites, newSite(t, p.Name))
		}
	}
	return sites
}

// dial connects a client to the site. It will ask for the first hostname.
func (s *site) dial(config *tls.Config) (*peer, error) {
	conn, err := net.DialTimeout("tcp", s.address, patience)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	if config.ServerName == "" && !config.InsecureSkipVerify {
		config.ServerName = s.hostnames()[0]
	}
	return newPeer(conn, config).speaking(s.protocol), nil
}
