package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// Every session has one entry, with what there is to know.
func TestAccessLog(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	for _, s := range sites {
		s.lines = []string{"log " + s.protocol}
	}
	c := serve(t, sites...)
	for _, s := range sites {
		p := s.requireUpgraded(t, c.trust(), step{})
		require.NoError(t, p.run([]step{{CloseNotify: true}, {Close: true}}))
		entry := c.awaitEntries(1, accessOf("."+s.protocol))[0]
		for field, want := range map[string]any{
			"remote": p.raw.LocalAddr().String(), "handler": "starttls", "protocol": s.protocol, "outcome": "upgraded",
			"upstream": s.backend.address(), "ended_by": "client",
		} {
			require.Equal(t, want, entry[field], "%s: %s", s.protocol, field)
		}
		require.Equal(t, s.hostnames()[0], entry["server_name"], s.protocol)
		secrecy := entry["tls"].(map[string]any)
		require.Equal(t, p.newestTLS(), secrecy["version"], s.protocol)
		require.NotEmpty(t, secrecy["cipher_suite"])
		require.Equal(t, false, secrecy["resumed"])
		for _, number := range []string{"duration", "negotiation", "handshake", "bytes_up", "bytes_down"} {
			require.Positive(t, entry[number], "%s: %s", s.protocol, number)
		}
		require.NotContains(t, entry, "error", s.protocol)
	}
	smtp := c.entries(accessOf(".smtp"))[0]
	require.Equal(t, "client.example", smtp["hello"])
}

// So has one that fails, or stays in plaintext, or whose TLS is passed through.
func TestAccessLogOfOtherOutcomes(t *testing.T) {
	s := newSite(t, "smtp")
	s.lines = []string{"policy optional", "log"}
	passed := newSite(t, "smtp")
	passed.lines, passed.names = []string{"passthrough", "log"}, []string{""}
	c := serveNamed(t, s.hostnames(), s, passed)
	for _, try := range []struct {
		site     *site
		script   []step
		outcome  string
		endedBy  any
		contains string
	}{
		{s, []step{{Expect: `^220 `}, {SendText: "QUIT\r\n"}, {ExpectClose: true}}, "quit", nil, "quit"},
		{s, []step{{Expect: `^220 `}, {Close: true}}, "gone", nil, "EOF"},
		{s, []step{{Expect: `^220 `}, {SendText: "STARTTLS\r\nNOOP\r\n"}, {ExpectClose: true}}, "violation", nil, "behind"},
		{s, []step{{Expect: `^220 `}, {SendText: "STARTTLS\r\n"}, {Expect: "^220 "}, {SendText: "\x15\x03\x01\x00\x02\x02\x28"}, {ExpectClose: true}}, "handshake", nil, "handshake failure"},
		{s, []step{{Expect: `^220 `}, {SendText: "STARTTLS\r\n"}, {Expect: "^220 "}, {SendText: "\x15\x03\x01\x00\x02\x02\x30"}, {ExpectClose: true}}, "distrusted", nil, "unknown certificate authority"},
		{s, []step{{Expect: `^220 `}, {SendText: "EHLO \xc3\xa9\xe2\x80\xae\r\n"}, {Expect: `STARTTLS`}, {SendText: "MAIL FROM:<>\r\n"}, {Expect: `^250`}, {Close: true}}, "cleartext", "client", ""},
		{passed, []step{{Expect: `^220 `}, {SendText: "STARTTLS\r\n"}, {Expect: "^220 "}, {SendHex: "160301"}, {Expect: "^220 "}, {Close: true}}, "passthrough", "client", ""},
	} {
		before := len(c.entries(accessOf("")))
		p, err := try.site.dial(c.trust())
		require.NoError(t, err)
		require.NoError(t, p.run(try.script), try.outcome)
		_ = p.raw.Close()
		entry := c.awaitEntries(before+1, accessOf(""))[before]
		require.Equal(t, try.outcome, entry["outcome"])
		require.Equal(t, try.endedBy, entry["ended_by"], try.outcome)
		require.Contains(t, fmt.Sprint(entry["error"]), try.contains)
		require.NotContains(t, entry, "tls")
		if try.outcome == "cleartext" {
			require.Equal(t, `\u00e9\u202e`, entry["hello"], "escaped")
		}
	}
}

// serveNamed is serve where not all sites have names.
func serveNamed(t *testing.T, names []string, sites ...*site) *instance {
	t.Helper()
	var servers strings.Builder
	for _, s := range sites {
		servers.WriteString(s.String())
	}
	c := startCaddy(t, servers.String())
	c.awaitCertificates(names...)
	return c
}

// A session that goes on in a later route has its entry when it is over, not before.
func TestAccessLogOfLaterRoutes(t *testing.T) {
	s := newSite(t, "pop3")
	c := startCaddy(t, fmt.Sprintf(`%s {
		route {
			starttls pop3 mail.example.com {
				log
			}
		}
		route {
			proxy %s
		}
	}`, s.address, s.backend.address()))
	c.awaitCertificates("mail.example.com")
	p := s.requireUpgraded(t, c.trust(), step{})
	require.Empty(t, c.entries(accessOf("")))
	require.NoError(t, p.run([]step{{CloseNotify: true}, {ExpectClose: true}, {Close: true}}))
	entry := c.awaitEntries(1, accessOf(""))[0]
	require.Equal(t, "client", entry["ended_by"])
	require.Positive(t, entry["bytes_up"])
	require.NotContains(t, entry, "upstream", "of another route")
}

// One whose backend in a later route is not there has its entry when nothing is left of it.
func TestAccessLogOfLaterRoutesWithoutABackend(t *testing.T) {
	s := newSite(t, "pop3")
	c := startCaddy(t, fmt.Sprintf(`%s {
		route {
			starttls pop3 mail.example.com {
				log
			}
		}
		route {
			proxy %s
		}
	}`, s.address, freeAddress(t)))
	c.awaitCertificates("mail.example.com")
	p, err := s.dial(c.trust())
	require.NoError(t, err)
	require.NoError(t, p.run(append(s.talk.ask(), step{StartTLS: true}, step{ExpectClose: true}, step{Close: true})))
	require.Eventually(t, func() bool {
		runtime.GC()
		return len(c.entries(accessOf(""))) == 1
	}, patience, 20*time.Millisecond)
	require.Equal(t, "upgraded", c.entries(accessOf(""))[0]["outcome"])
	requireSample(t, 0, 0, "caddy_layer4_starttls_sessions_in_flight", "protocol", "pop3")
}

// The upstream's side has its own.
func TestAccessLogOfUpstreams(t *testing.T) {
	a := newAuthority(t)
	j := newJoint(t, "pop3", a, servesInside)
	j.lines = append(j.lines, "log out")
	c := serveJoints(t, j)
	client, up := j.connect(t)
	writes(t, client, "USER alice\r\n")
	requireReads(t, client, "+OK done\r\n")
	_ = up
	require.NoError(t, client.Close())
	entry := c.awaitEntries(1, accessOf(".out"))[0]
	for field, want := range map[string]any{
		"handler": "starttls_upstream", "protocol": "pop3", "outcome": "upgraded", "server_name": upstreamName,
		"upstream": j.up.address(), "remote": client.LocalAddr().String(), "bytes_up": float64(len("USER alice\r\n")),
	} {
		require.Equal(t, want, entry[field], field)
	}
	require.Positive(t, entry["handshake"])
}

// The log can be had apart from all else, and survives a reload that moves it.
func TestAccessLogOfItsOwn(t *testing.T) {
	s := newSite(t, "pop3")
	s.lines = []string{"log mail"}
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	own := func(name string) string {
		return fmt.Sprintf("log %s {\nformat json\noutput file %s/%s {\nroll_disabled\n}\ninclude layer4.starttls.access\n}\n", name, c.dir, name)
	}
	c.load(c.caddyfile(s.String(), own("first")))
	c.awaitCertificates(s.hostnames()...)
	p := s.requireUpgraded(t, c.trust(), step{})
	c.load(c.caddyfile(s.String(), own("second")))
	require.NoError(t, p.raw.Close())
	second := &instance{t: t, dir: t.TempDir()}
	second.file = c.dir + "/second"
	require.Equal(t, "upgraded", second.awaitEntries(1, accessOf(".mail"))[0]["outcome"])
	require.Empty(t, c.entries(accessOf(".mail")), "in the default log")
}

// What somebody should do something about is logged without being asked for, but not for
// every client, and with none of their secrets.
func TestDefaultLog(t *testing.T) {
	s := newSite(t, "smtp")
	refusing := newSite(t, "smtp")
	refusing.backend = newBackend(t, "smtp", []step{{SendText: "554 go away \x1b[31m\r\n"}})
	c := serve(t, s, refusing)
	for range 8 {
		p, err := s.dial(c.trust())
		require.NoError(t, err)
		require.NoError(t, p.run([]step{
			{Expect: `^220 `}, {SendText: "EHLO c\r\n"}, {Expect: "STARTTLS"},
			{SendText: "AUTH PLAIN AHNlY3JldAB2ZXJ5c2VjcmV0\r\n"}, {Expect: "^530 "}, {Close: true},
		}))
	}
	login := withMessage("password may have been sent in plaintext")
	require.Equal(t, "info", c.awaitEntries(5, login)[0]["level"])
	for range 7 {
		p, err := s.dial(c.trust())
		require.NoError(t, err)
		require.NoError(t, p.run([]step{{Expect: `^220 `}, {SendText: "STARTTLS\r\nNOOP secret\r\n"}, {ExpectClose: true}, {Close: true}}))
	}
	require.Equal(t, "info", c.awaitEntries(5, withMessage("plaintext behind the upgrade request"))[0]["level"])
	p, err := refusing.dial(c.trust())
	require.NoError(t, err)
	require.NoError(t, p.run(append(refusing.talk.ask(), step{StartTLS: true}, step{TLSSendText: "EHLO c\r\n"}, step{Expect: "^554 "}, step{Close: true})))
	require.Equal(t, "warn", c.awaitEntries(1, withMessage("backend refused"))[0]["level"])
	for _, entry := range c.entries(func(map[string]any) bool { return true }) {
		require.NotContains(t, fmt.Sprint(entry), "AHNlY3JldAB2ZXJ5c2VjcmV0")
		require.NotContains(t, fmt.Sprint(entry), "NOOP secret")
		require.NotContains(t, fmt.Sprint(entry), "\x1b")
	}
}

// A handler that has no certificate for the name that a client asks for says so.
func TestDefaultLogOfMissingCertificates(t *testing.T) {
	s, other := newSite(t, "smtp"), newNamedSite(t, "other.example.com")
	c := startCaddy(t, strings.ReplaceAll(s.String(), " mail.example.com ", " ")+other.String())
	c.awaitCertificates("other.example.com")
	conn, err := net.DialTimeout("tcp", s.address, patience)
	require.NoError(t, err)
	p := newPeer(conn, &tls.Config{ServerName: "mail.example.com"})
	require.NoError(t, p.run(append(s.talk.ask(), step{StartTLS: true, ExpectFail: true}, step{Close: true})))
	require.Equal(t, "warn", c.awaitEntries(1, withMessage("no certificate to serve a client with"))[0]["level"])
	requireSample(t, 0, 1, "caddy_layer4_starttls_negotiations_total", "protocol", "smtp", "outcome", "no_certificate")
}

// Nor is an upstream that fails verification left to be found.
func TestDefaultLogOfUpstreams(t *testing.T) {
	a := newAuthority(t)
	j := newJoint(t, "pop3", a)
	j.lines = []string{"tls_server_name other.example.com", "tls_trust_pool file " + a.file}
	mute := newJoint(t, "smtp", a)
	mute.proxy = stuckServer(t)
	mute.lines = append(mute.lines, "negotiation_timeout 500ms")
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	c.loadListening(c.caddyfile(jointServers([]*joint{j, mute})), "starttls_upstream.verification_failed")
	before, _ := sample(t, "caddy_layer4_starttls_upstream_negotiations_total", "protocol", "pop3", "outcome", "unverified")
	for range 7 {
		_, err := io.ReadAll(j.ask(t))
		require.NoError(t, err)
		data := awaitEvent(t, "starttls_upstream.verification_failed")
		require.Equal(t, "other.example.com", data["server_name"])
		require.Equal(t, j.up.address(), data["upstream"])
		require.Equal(t, "pop3", data["protocol"])
		require.Contains(t, data["error"], "certificate")
	}
	require.Equal(t, "warn", c.awaitEntries(5, withMessage("upstream's certificate could not be verified"))[0]["level"])
	requireSample(t, before, 7, "caddy_layer4_starttls_upstream_negotiations_total", "protocol", "pop3", "outcome", "unverified")
	expiry, ok := sample(t, "caddy_layer4_starttls_upstream_certificate_expiry_timestamp_seconds", "server_name", "other.example.com")
	require.True(t, ok, "of a certificate that is not good")
	require.Equal(t, float64(j.up.config.TLS.Certificates[0].Leaf.NotAfter.Unix()), expiry)
	_, err := io.ReadAll(mute.ask(t))
	require.NoError(t, err)
	c.awaitEntries(1, withMessage("expect TLS from the first byte"))
}

// A violation is an event.
func TestEventOfAViolation(t *testing.T) {
	sites := sitePerProtocol(t, func(p *upgrade.Protocol) bool { return p.Name != "line" })
	var servers strings.Builder
	var names []string
	for _, s := range sites {
		servers.WriteString(s.String())
		names = append(names, s.hostnames()...)
	}
	c := newInstance(t)
	t.Cleanup(func() { require.NoError(t, caddy.Stop()) })
	c.loadListening(c.caddyfile(servers.String()), "starttls.violation")
	c.awaitCertificates(names...)
	for _, s := range sites {
		p, err := s.dial(&tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		t.Cleanup(func() { _ = p.raw.Close() })
		conversation := s.talk
		require.NoError(t, p.run(append(append([]step{}, conversation.greet...), step{SendText: conversation.request + conversation.inject})))
		require.NoError(t, p.raw.(*net.TCPConn).CloseWrite()) // what is in flight is waited for otherwise
		data := awaitEvent(t, "starttls.violation")
		require.Equal(t, p.raw.LocalAddr().String(), data["remote"])
		require.Equal(t, s.protocol, data["protocol"])
		require.NotContains(t, fmt.Sprint(data), conversation.marker)
	}
}

// Metrics add up to the sessions that there were, across reloads.
func TestMetricsSurviveReloads(t *testing.T) {
	sites := sitePerProtocol(t, nil)
	servers := ""
	for _, s := range sites {
		servers += s.String()
	}
	c := serve(t, sites...)
	for _, s := range sites {
		upgraded := []string{"protocol", s.protocol, "outcome", "upgraded"}
		own := []string{"protocol", s.protocol}
		before, ok := sample(t, "caddy_layer4_starttls_negotiations_total", upgraded...)
		require.True(t, ok, "begins with zero")
		handshakes, _ := sample(t, "caddy_layer4_starttls_handshake_duration_seconds", own...)
		negotiations, _ := sample(t, "caddy_layer4_starttls_negotiation_duration_seconds", own...)
		p := s.requireUpgraded(t, c.trust(), step{})
		requireSample(t, before, 1, "caddy_layer4_starttls_negotiations_total", upgraded...)
		requireSample(t, handshakes, 1, "caddy_layer4_starttls_handshake_duration_seconds", own...)
		requireSample(t, negotiations, 1, "caddy_layer4_starttls_negotiation_duration_seconds", own...)
		up, _ := sample(t, "caddy_layer4_starttls_bytes_total", append(own, "direction", "up")...)
		require.Positive(t, up, "while the session goes on")
		c.load(c.caddyfile(servers, "# another "+s.protocol))
		requireSample(t, 0, 1, "caddy_layer4_starttls_sessions_in_flight", own...)
		requireSample(t, before, 1, "caddy_layer4_starttls_negotiations_total", upgraded...)
		require.NoError(t, s.again(p))
		require.NoError(t, p.raw.Close())
		requireSample(t, 0, 0, "caddy_layer4_starttls_sessions_in_flight", own...)
		more, _ := sample(t, "caddy_layer4_starttls_bytes_total", append(own, "direction", "up")...)
		require.Greater(t, more, up)
	}
}

// The expiry goes by the name as it is configured, for as long as it is.
func TestExpiryOfUpstreams(t *testing.T) {
	const metric = "caddy_layer4_starttls_upstream_certificate_expiry_timestamp_seconds"
	a := newAuthority(t)
	j := newJoint(t, "pop3", a, servesInside)
	t.Setenv("UPSTREAM_NAME", upstreamName)
	j.lines[0] = "tls_server_name {env.UPSTREAM_NAME}"
	c := serveJoints(t, j)
	_, known := sample(t, metric, "server_name", "{env.UPSTREAM_NAME}")
	require.False(t, known, "before there was a session")
	client, _ := j.connect(t)
	expiry, ok := sample(t, metric, "server_name", "{env.UPSTREAM_NAME}")
	require.True(t, ok)
	require.Equal(t, float64(j.up.config.TLS.Certificates[0].Leaf.NotAfter.Unix()), expiry)
	c.load(c.caddyfile(j.String(), "# the same again"))
	_, ok = sample(t, metric, "server_name", "{env.UPSTREAM_NAME}")
	require.True(t, ok, "across a reload")
	c.load(c.caddyfile(newJoint(t, "pop3", a).String()))
	_, ok = sample(t, metric, "server_name", "{env.UPSTREAM_NAME}")
	require.False(t, ok, "of no configuration")
	require.NoError(t, client.Close())
}
