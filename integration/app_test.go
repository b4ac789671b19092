package integration_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/stretchr/testify/require"
)

// settle is how long a certificate that should not be obtained is waited for. Those
// of the internal CA take some milliseconds.
const settle = 500 * time.Millisecond

// newNamedSite makes a site for some names.
func newNamedSite(t *testing.T, names ...string) *site {
	s := newSite(t, "smtp")
	s.names = names
	return s
}

// loadWith loads the configuration of a site, with a way of loading certificates in
// the tls app besides.
func loadWith(t *testing.T, s *site, loader string, value any) *instance {
	t.Helper()
	return loadText(t, s.String(), loader, value)
}

func loadText(t *testing.T, servers, loader string, value any) *instance {
	t.Helper()
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	c.loadCertificates(c.caddyfile(servers), loader, value)
	return c
}

// loadCertificates loads a Caddyfile with a certificate loader.
func (c *instance) loadCertificates(caddyfile, loader string, value any) {
	c.t.Helper()
	c.loadChanged(caddyfile, func(tlsApp map[string]any) { tlsApp["certificates"] = map[string]any{loader: value} })
}

// loadPolicies loads a Caddyfile with other automation policies than it has.
func (c *instance) loadPolicies(caddyfile, policies string) {
	c.t.Helper()
	c.loadChanged(caddyfile, func(tlsApp map[string]any) {
		tlsApp["automation"].(map[string]any)["policies"] = json.RawMessage(policies)
	})
}

func (c *instance) loadChanged(caddyfile string, change func(tlsApp map[string]any)) {
	c.t.Helper()
	var config map[string]any
	require.NoError(c.t, json.Unmarshal(c.adapt(caddyfile), &config))
	change(config["apps"].(map[string]any)["tls"].(map[string]any))
	text, err := json.Marshal(config)
	require.NoError(c.t, err)
	require.NoError(c.t, caddy.Load(text, true))
}

// pemOf is the value of load_pem for a certificate.
func pemOf(t *testing.T, loaded *tls.Certificate) any {
	t.Helper()
	certificate, key := testkit.PEM(t, loaded)
	return []map[string]string{{"certificate": string(certificate), "key": string(key)}}
}

// certificatesFor counts the certificates that a name may be served with.
func certificatesFor(name string) int {
	different := make(map[string]bool)
	for _, certificate := range caddytls.AllMatchingCertificates(name) {
		different[certificate.Hash()] = true
	}
	return len(different)
}

func TestHostnamesAreManaged(t *testing.T) {
	s := newNamedSite(t, "mail.example.com", "*.wild.example.com", "192.0.2.1")
	c := serve(t, s)
	require.ElementsMatch(t, []string{"mail.example.com", "wildcard_.wild.example.com", "192.0.2.1"}, c.leaves())
	for _, name := range s.names {
		require.Equal(t, 1, certificatesFor(name), name)
	}
}

func TestNamesOfLoadedCertificatesAreNotManaged(t *testing.T) {
	loaded := newCertificate(t, "mail", newCertificate(t, "CA of the user", nil))
	s := newNamedSite(t, "mail.example.com", "other.example.com")
	c := loadWith(t, s, "load_pem", pemOf(t, loaded))
	c.requireLeaves("other.example.com")
	p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: "mail.example.com"})
	require.Equal(t, loaded.Certificate[0], p.tls.ConnectionState().PeerCertificates[0].Raw)
}

// requireLeaves waits for certificates, and finds no others.
func (c *instance) requireLeaves(names ...string) {
	c.t.Helper()
	c.awaitCertificates(names...)
	time.Sleep(settle)
	for i, name := range names {
		if name[0] == '*' {
			names[i] = "wildcard_" + name[1:]
		}
	}
	require.ElementsMatch(c.t, names, c.leaves())
}

func TestAutomatedNamesAreNotManagedTwice(t *testing.T) {
	c := loadWith(t, newNamedSite(t, "mail.example.com", "other.example.com"), "automate", []string{"mail.example.com"})
	c.requireLeaves("mail.example.com", "other.example.com")
	require.Equal(t, 1, certificatesFor("mail.example.com"))
}

func TestNamesUnderAManagedWildcardAreNotManaged(t *testing.T) {
	s := newNamedSite(t, "mail.example.com", "mail.elsewhere.example.net")
	c := loadWith(t, s, "automate", []string{"*.example.com"})
	c.requireLeaves("*.example.com", "mail.elsewhere.example.net")
	p := s.requireUpgraded(t, c.trust(), step{SNI: "mail.example.com"})
	require.Equal(t, []string{"*.example.com"}, p.tls.ConnectionState().PeerCertificates[0].DNSNames)
}

func TestNamesOfSitesAreNotManagedTwice(t *testing.T) {
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	address := freeAddress(t)
	site := "mail.example.com:" + address[len("127.0.0.1:"):] + " {\n bind 127.0.0.1\n respond hello\n}\n"
	servers := newNamedSite(t, "mail.example.com", "other.example.com").String()
	c.load(c.caddyfile(servers, "auto_https disable_redirects") + site)
	c.requireLeaves("mail.example.com", "other.example.com")
	require.Equal(t, 1, certificatesFor("mail.example.com"))
}

// Two handlers may be for the same name.
func TestNamesOfSeveralHandlersAreManagedOnce(t *testing.T) {
	c := serve(t, newNamedSite(t, "mail.example.com"), newNamedSite(t, "mail.example.com", "mx.example.com"))
	c.requireLeaves("mail.example.com", "mx.example.com")
	require.Equal(t, 1, certificatesFor("mail.example.com"))
}

func TestValidationObtainsNothing(t *testing.T) {
	c := newInstance(t)
	text := c.adapt(c.caddyfile(newNamedSite(t, "validated.example.com", "localhost").String()))
	config := new(caddy.Config)
	require.NoError(t, json.Unmarshal(text, config))
	require.NoError(t, caddy.Validate(config))
	time.Sleep(settle)
	require.Empty(t, c.leaves())
}

// No public CA would sign for these, so nobody has to ask for local certificates.
func TestLocalNamesGetTheInternalCA(t *testing.T) {
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s := newNamedSite(t, "localhost", "mail.internal", "127.0.0.1")
	c.load("{\n admin off\n persist_config off\n skip_install_trust\n" + c.common(nil) + "\n layer4 {\n" + s.String() + "\n}\n}\n")
	c.requireLeaves("localhost", "mail.internal", "127.0.0.1")
	found, err := filepath.Glob(filepath.Join(c.dir, "certificates", "local", "*", "*.crt"))
	require.NoError(t, err)
	require.Len(t, found, 3, "signed by another CA")
	s.requireUpgraded(t, c.trust(), step{})
	s.requireUpgraded(t, c.trust(), step{SNI: "mail.internal"})
}

func TestReloadLeavesSessionsAndCertificatesAlone(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	c := serve(t, sites...)
	var peers []*peer
	for _, s := range sites {
		peers = append(peers, s.requireUpgraded(t, c.trust(), step{}))
	}
	before := c.certificates()
	var servers bytes.Buffer
	for _, s := range append(sites, newNamedSite(t, "new.example.com")) {
		s.lines = []string{"connection_policy {\n protocols tls1.2 tls1.3\n}"}
		servers.WriteString(s.String())
	}
	c.load(c.caddyfile(servers.String()))
	c.awaitCertificates("new.example.com")
	time.Sleep(settle)
	after := c.certificates()
	require.Len(t, after, len(before)+1)
	for file, certificate := range before {
		require.Equal(t, certificate, after[file], file)
	}
	for i, s := range sites {
		require.NoError(t, s.again(peers[i]), s.protocol)
		s.requireUpgraded(t, c.trust(), step{})
	}
}

// certificates are the contents of storage.
func (c *instance) certificates() map[string]string {
	contents := make(map[string]string)
	for _, name := range c.leaves() {
		found, err := filepath.Glob(filepath.Join(c.dir, "certificates", "*", "*", name+".crt"))
		require.NoError(c.t, err)
		for _, file := range found {
			text, err := os.ReadFile(file)
			require.NoError(c.t, err)
			contents[file] = string(text)
		}
	}
	return contents
}

// again makes more use of a session, in protocols where a client can say the same
// thing twice.
func (s *site) again(p *peer) error {
	steps := s.talk.use
	switch s.protocol {
	case "sieve":
		steps = steps[1:] // the announcement comes once
	case "postgres":
		steps = []step{{TLSSendText: "more"}, {SilenceMS: 100}}
	}
	return p.run(steps)
}

// onDemandSite is a site for all names, whose certificates are obtained on demand, if
// somebody allows it.
func onDemandSite(t *testing.T) (options, site string) {
	t.Helper()
	options = "default_bind 127.0.0.1\n auto_https disable_redirects\n https_port " + testkit.Port(t, freeAddress(t)) +
		"\n http_port " + testkit.Port(t, freeAddress(t)) + "\n on_demand_tls {\n ask http://" + freeAddress(t) + "\n}"
	return options, "https:// {\n tls {\n on_demand\n }\n respond hello\n}\n"
}

// The names are known, as those of sites are, so they do not wait for a client because
// other names do.
func TestCatchAllOnDemandIsNotInherited(t *testing.T) {
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s := newNamedSite(t, "mail.example.com", "mail.internal")
	options, site := onDemandSite(t)
	c.load(c.caddyfile(s.String(), options) + site)
	c.awaitCertificates("mail.example.com", "mail.internal")
	s.requireUpgraded(t, c.trust(), step{SNI: "mail.example.com"})
}

// A policy that names the host is obeyed, on-demand included.
func TestOnDemandOfTheNameItselfIsObeyed(t *testing.T) {
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s := newNamedSite(t, "mail.example.com", "other.example.com")
	options, site := onDemandSite(t)
	c.load(c.caddyfile(s.String(), options) + strings.Replace(site, "https://", "mail.example.com", 1))
	c.requireLeaves("other.example.com")
}

// Without a certificate the upgrade is refused in the protocol's words, and granted once
// there is one. Each name is warned of once, not each client.
func TestNoCertificateYet(t *testing.T) {
	s := newNamedSite(t, "mail.example.com", "mx.example.com")
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	nobody := "cert_issuer acme http://" + freeAddress(t) + "\n acme_ca http://" + freeAddress(t)
	c.load(strings.Replace(c.caddyfile(s.String()), "local_certs", nobody, 1))
	for range 3 {
		p, err := s.dial(new(tls.Config))
		require.NoError(t, err)
		require.NoError(t, p.run([]step{
			{Expect: `^220 `}, {SendText: "EHLO c\r\n"}, {Expect: `(?s)^250.*STARTTLS\r\n`},
			{SendText: "STARTTLS\r\n"}, {Expect: `^454 4\.7\.0 `}, {SendText: "QUIT\r\n"}, {Expect: `^221 `},
		}))
		require.NoError(t, p.raw.Close())
	}
	require.Len(t, c.logged("no certificate yet, refusing upgrades until there is one"), 2)

	c.load(c.caddyfile(s.String()))
	c.awaitCertificates(s.names...)
	s.requireUpgraded(t, c.trust(), step{})
}
