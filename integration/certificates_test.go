package integration_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// noHostnames is how a handler says that it has no hostnames, and nothing serves it.
const noHostnames = "no hostnames, and no certificate that could serve clients"

// warnings are the messages of warnings that begin in a way.
func (c *instance) warnings(beginning string) (found []string) {
	c.entries(func(entry map[string]any) bool {
		if text, _ := entry["msg"].(string); entry["level"] == "warn" && strings.HasPrefix(text, beginning) {
			found = append(found, text)
		}
		return false
	})
	return found
}

// nameless is a site for no names.
func nameless(t *testing.T) (s *site, text string) {
	t.Helper()
	s = newNamedSite(t, "nobody.example.com")
	return s, strings.Replace(s.String(), "nobody.example.com", "", 1)
}

// The warning comes at start, with its place, and clients do not add to it.
func TestNoHostnamesAndNoCertificate(t *testing.T) {
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s, first := nameless(t)
	_, second := nameless(t)
	c.load(c.caddyfile(first + second))
	require.Len(t, c.warnings(noHostnames), 2)
	documented, err := os.ReadFile("../docs/certificates.md")
	require.NoError(t, err)
	for _, text := range c.warnings(noHostnames) {
		message, place, _ := strings.Cut(text, ", at ")
		require.Regexp(t, `^Caddyfile:\d+$`, place)
		require.Contains(t, string(documented), "\n"+message+"\n")
	}
	for range 3 {
		s.requireUnavailable(t)
	}
	require.Len(t, c.warnings(noHostnames), 2)
}

// requireUnavailable asks for the upgrade, which is refused as long as there is no
// certificate.
func (s *site) requireUnavailable(t *testing.T) {
	t.Helper()
	p, err := s.dial(new(tls.Config))
	require.NoError(t, err)
	require.NoError(t, p.run([]step{
		{Expect: `^220 `}, {SendText: "EHLO c\r\n"}, {Expect: `(?s)^250.*STARTTLS\r\n`},
		{SendText: "STARTTLS\r\n"}, {Expect: `^454 4\.7\.0 `}, {SendText: "QUIT\r\n"}, {Expect: `^221 `},
	}))
	require.NoError(t, p.raw.Close())
}

// Whatever certificate Caddy has or will have may serve a handler without hostnames.
func TestNoHostnamesAndOtherCertificates(t *testing.T) {
	named := newNamedSite(t, "mail.example.com")
	onDemand, catchAll := onDemandSite(t)
	ports := "default_bind 127.0.0.1\n auto_https disable_redirects\n http_port " + testkit.Port(t, freeAddress(t))
	for name, with := range map[string]struct{ options, servers, sites string }{
		"another handler": {servers: named.String()},
		"a site":          {options: ports, sites: "mail.example.com:" + testkit.Port(t, freeAddress(t)) + " {\n respond hello\n}\n"},
		"on demand":       {options: onDemand, sites: catchAll},
		"a manager":       {options: onDemand, sites: strings.Replace(catchAll, "on_demand", "get_certificate http http://"+freeAddress(t), 1)},
	} {
		t.Run(name, func(t *testing.T) {
			c := newInstance(t)
			t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
			s, text := nameless(t)
			c.load(c.caddyfile(text+with.servers, with.options) + with.sites)
			require.Empty(t, c.warnings(noHostnames))
			if with.servers == "" && name != "a site" {
				return
			}
			c.awaitCertificates("mail.example.com")
			s.requireUpgraded(t, c.trust(), step{SNI: "mail.example.com"})
			require.Empty(t, c.warnings(noHostnames))
		})
	}
}

func TestNoHostnamesAndALoadedCertificate(t *testing.T) {
	s, text := nameless(t)
	loaded := newCertificate(t, "mail", newCertificate(t, "CA of the user", nil))
	c := loadText(t, text, "load_pem", pemOf(t, loaded))
	require.Empty(t, c.warnings(noHostnames))
	p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: "mail.example.com"})
	require.Equal(t, loaded.Certificate[0], p.tls.ConnectionState().PeerCertificates[0].Raw)

	// The certificates of a configuration are gone with it.
	c.load(c.caddyfile(text))
	s.requireUnavailable(t)
	require.Len(t, c.warnings(noHostnames), 1)
}

// The files of a site serve its name everywhere, and nothing else is obtained for it.
func TestCertificateFilesOfASite(t *testing.T) {
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	loaded := newCertificate(t, "mail", newCertificate(t, "CA of the user", nil))
	certificate, key := testkit.PEM(t, loaded)
	files := testkit.WriteFile(t, c.dir, "fullchain.pem", string(certificate)) + " " + testkit.WriteFile(t, c.dir, "privkey.pem", string(key))
	s := newNamedSite(t, "mail.example.com", "other.example.com")
	ports := "auto_https disable_redirects\n http_port " + testkit.Port(t, freeAddress(t)) + "\n https_port " + testkit.Port(t, freeAddress(t))
	c.load(c.caddyfile(s.String(), ports) + "https://mail.example.com {\n bind 127.0.0.1\n tls " + files + "\n respond 404\n}\n")
	c.requireLeaves("other.example.com")
	p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: "mail.example.com"})
	require.Equal(t, loaded.Certificate[0], p.tls.ConnectionState().PeerCertificates[0].Raw)
}

// As long as the first hostname has no certificate, clients that ask for no name, or for one
// that is not known, get one that is there.
func TestAnotherHostnameServesMeanwhile(t *testing.T) {
	s := newNamedSite(t, "first.example.com", "mail.example.com")
	loaded := newCertificate(t, "mail", newCertificate(t, "CA of the user", nil))
	nobody := "cert_issuer acme http://" + freeAddress(t)
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	c.loadCertificates(strings.Replace(c.caddyfile(s.String()), "local_certs", nobody, 1), "load_pem", pemOf(t, loaded))
	for _, sni := range []string{"", "mail.example.com", "first.example.com", "elsewhere.example.com"} {
		p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: sni})
		require.Equal(t, loaded.Certificate[0], p.tls.ConnectionState().PeerCertificates[0].Raw, sni)
	}
}

// A connection policy may say itself what clients without SNI get, and a local address does
// not.
func TestClientsWithoutSNI(t *testing.T) {
	for policy, want := range map[string]string{
		"":                                "mail.example.com",
		"default_sni second.example.com":  "second.example.com",
		"default_sni 127.0.0.1":           "",
		"default_sni unheard.example.com": "mail.example.com",
	} {
		t.Run(policy, func(t *testing.T) {
			s := newNamedSite(t, "mail.example.com", "127.0.0.1", "second.example.com")
			s.lines = []string{"connection_policy {\n" + policy + "\n}"}
			serve(t, s)
			leaf := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{}).tls.ConnectionState().PeerCertificates[0]
			require.Equal(t, want, strings.Join(leaf.DNSNames, " "))
		})
	}
}

// asked is a permission endpoint of on-demand TLS, which knows some names.
func asked(t *testing.T, known ...string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range known {
			if r.URL.Query().Get("domain") == name {
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	return server
}

// A policy that names the host, or a wildcard above it, is obeyed: its certificate is
// obtained in the handshake. So is that of a name that nobody but `ask` knows. One that it
// does not know gets the first hostname's.
func TestOnDemandInTheHandshake(t *testing.T) {
	for _, named := range []string{"mail.example.com", "*.example.com", "MAIL.example.com"} {
		t.Run(named, func(t *testing.T) {
			ask := asked(t, "mail.example.com", "new.example.com", "other.example.net")
			c := newInstance(t)
			t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
			s := newNamedSite(t, "mail.example.com", "other.example.net")
			config := c.caddyfile(s.String(), "on_demand_tls {\n ask "+ask.URL+"\n}")
			c.loadPolicies(config, fmt.Sprintf(`[
				{"subjects": [%q], "issuers": [{"module": "internal"}], "on_demand": true},
				{"issuers": [{"module": "internal"}], "on_demand": true}
			]`, named))
			c.requireLeaves("other.example.net")
			for sni, want := range map[string]string{
				"mail.example.com": "mail.example.com", "new.example.com": "new.example.com",
				"": "mail.example.com", "unheard.example.com": "mail.example.com",
			} {
				p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: sni})
				require.Equal(t, []string{want}, p.tls.ConnectionState().PeerCertificates[0].DNSNames, sni)
			}
		})
	}
}

// A client does not wait longer than the handshake may take. What is obtained for it is
// there for the next.
func TestOnDemandOutlastsTheClient(t *testing.T) {
	release := make(chan struct{})
	ask := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(ask.Close)
	allow := sync.OnceFunc(func() { close(release) })
	t.Cleanup(allow)
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s := newNamedSite(t, "mail.example.com")
	s.timeout = 500 * time.Millisecond
	c.loadPolicies(c.caddyfile(s.String(), "on_demand_tls {\n ask "+ask.URL+"\n}"),
		`[{"subjects": ["mail.example.com"], "issuers": [{"module": "internal"}], "on_demand": true}]`)
	s.requireRefused(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: "mail.example.com"})
	allow()
	c.awaitCertificates("mail.example.com")
	s.requireUpgraded(t, c.trust(), step{SNI: "mail.example.com"})
}

// A manager is asked in the handshake, so the upgrade is granted.
func TestCertificateOfAManager(t *testing.T) {
	own := newCertificate(t, "mail", newCertificate(t, "CA of the user", nil))
	certificate, key := testkit.PEM(t, own)
	manager := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("server_name") != "mail.example.com" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = w.Write(append(certificate, key...))
	}))
	t.Cleanup(manager.Close)
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	s := newNamedSite(t, "mail.example.com")
	c.loadPolicies(c.caddyfile(s.String()), fmt.Sprintf(`[
		{"subjects": ["mail.example.com"], "get_certificate": [{"via": "http", "url": %q}]}
	]`, manager.URL))
	p := s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: "mail.example.com"})
	require.Equal(t, own.Certificate[0], p.tls.ConnectionState().PeerCertificates[0].Raw)
}

// The keys of session tickets are those of the tls app, where it has some: they outlive
// a reload.
func TestTicketKeysOfTheTLSApp(t *testing.T) {
	for name, c := range map[string]struct {
		tickets         string
		again, reloaded bool
	}{
		"none":        {`null`, true, false},
		"standard":    {`{"key_source": {"provider": "standard"}}`, true, true},
		"distributed": {`{"key_source": {"provider": "distributed"}}`, true, true},
		"disabled":    {`{"disabled": true}`, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			i := newInstance(t)
			t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
			s := newNamedSite(t, "mail.example.com")
			load := func(greeting string) {
				s.lines = []string{"greeting " + greeting}
				i.loadChanged(i.caddyfile(s.String()), func(tlsApp map[string]any) { tlsApp["session_tickets"] = json.RawMessage(c.tickets) })
			}
			load("first")
			i.awaitCertificates("mail.example.com")
			config := i.trust()
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			resumed := func() bool { return s.requireUpgraded(t, config, step{}).tls.ConnectionState().DidResume }
			require.False(t, resumed())
			require.Equal(t, c.again, resumed())
			load("second")
			require.Equal(t, c.reloaded, resumed())
		})
	}
}
