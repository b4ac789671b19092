package interop

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// globalBlock is where the global options begin, which snippets may precede.
var globalBlock = regexp.MustCompile(`(?m)^\{\n`)

// startExample runs a Caddyfile of the examples, with words of it replaced, so that it
// listens and dials where the test wants, and with further global options.
func startExample(t testing.TB, name, global string, words map[string]string, hosts []string, addrs ...string) *caddyServer {
	t.Helper()
	return startCaddyfile(t, exampleConfig(t, name, global, words), hosts, addrs...)
}

// exampleConfig is the Caddyfile of startExample.
func exampleConfig(t testing.TB, name, global string, words map[string]string) func(storage string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", name, "Caddyfile"))
	require.NoError(t, err)
	config := string(text)
	for old, word := range words {
		whole := regexp.MustCompile(`(?m)(^|\s)` + regexp.QuoteMeta(old) + `(\s|$)`)
		require.Regexp(t, whole, config)
		config = whole.ReplaceAllString(config, "${1}"+word+"${2}")
	}
	return func(storage string) string {
		return globalBlock.ReplaceAllLiteralString(config, "{\n"+testOptions(storage)+"\n"+global+"\n")
	}
}

// fenced finds the blocks in Markdown that are not of a language.
var fenced = regexp.MustCompile("(?ms)^```\n(.*?)^```$")

// exampleBlocks are what the README of an example says to set in the server, block by block.
func exampleBlocks(t testing.TB, name string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", name, "README.md"))
	require.NoError(t, err)
	for _, block := range fenced.FindAllSubmatch(text, -1) {
		blocks = append(blocks, string(block[1]))
	}
	return blocks
}

// TestExamplePublicMX has a sender with TLS and one without. It announces what Postfix does.
func TestExamplePublicMX(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	const host = "mx.example.com"
	mx := &publicMX{dovecot: startDovecot(t, tlsOff)}
	var backend string
	backend, mx.log = startPostfixWith(t, mx.dovecot, mxSettings, "")
	mx.front = &front{proto: "smtp", host: host, addr: freeAddr(t)}
	mx.caddyServer = startExample(t, "publicmx", "",
		map[string]string{":25": mx.addr, "127.0.0.1:10025": backend}, []string{host}, mx.addr)
	for i, args := range [][]string{{"--tls", "--tls-verify", "--tls-ca-path", mx.Root()}, nil} {
		helo := fmt.Sprintf("client%d.example", i)
		out, err := mx.swaks(t, append(args, "--helo", helo)...)
		require.NoError(t, err, out)
		mx.dovecot.delivered(t, i+1)
		mx.dovecot.requireReceived(t, "from "+helo+` \(unknown \[127\.0\.0\.9\]\)`)
	}
	require.NotContains(t, mx.Log(), differences)
}

// exampleTenants are where the tenants of the example have their backends.
var exampleTenants = map[string]string{
	"mail.example.com": "127.0.0.1", "mail.example.net": "127.0.0.2", "mail.example.org": "127.0.0.3",
}

// TestExampleTenants asks each tenant's servers who they are. Dovecot takes the
// password because it is told of TLS.
func TestExampleTenants(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	imap, smtp := freeAddr(t), freeAddr(t)
	words, services := map[string]string{":143": imap, ":587": smtp}, ""
	var hosts, submission []string
	for tenant, ip := range exampleTenants {
		hosts = append(hosts, tenant)
		d := startDovecotWith(t, "imap_id_send = name "+tenant, fmt.Sprintf(dovecotProxied, "127.0.0.5", port(t, freeAddr(t))))
		words[ip+":10143"] = d.imap
		backend := freeAddr(t)
		words[ip+":10587"] = backend
		submission = append(submission, backend)
		services += backend + " inet n - n - - smtpd\n  -o myhostname=" + tenant + "\n  -o smtpd_upstream_proxy_protocol=haproxy\n"
	}
	startPostfixWith(t, startDovecot(t, tlsOff), "", services)
	for _, backend := range submission {
		waitTCP(t, backend)
	}
	c := startExample(t, "tenants", "", words, hosts, imap, smtp)
	ask := func(t *testing.T, sni, tenant string) {
		p := &tenantPort{front: &front{caddyServer: c, proto: "imap", addr: imap}}
		d := p.dialogue(t, sni, tenant)
		d.send("a ID NIL")
		require.Contains(t, d.expect(`^a OK .*\n`), `* ID ("name" "`+tenant+`")`)
		d.send(`b LOGIN alice "open sesame"`)
		d.expect(`^b OK .*\n`)
		p = &tenantPort{front: &front{caddyServer: c, proto: "smtp", addr: smtp}}
		d = p.dialogue(t, sni, tenant)
		d.send("EHLO client.example")
		require.Contains(t, d.expect(`^250 .*\n`), "250-"+tenant)
	}
	for _, tenant := range hosts {
		t.Run(tenant, func(t *testing.T) { ask(t, tenant, tenant) })
	}
	t.Run("no SNI", func(t *testing.T) { ask(t, "", "mail.example.com") })
	t.Run("somebody else's", func(t *testing.T) {
		out, err := run(t, clientTimeout, "", "openssl", "s_client", "-starttls", "imap", "-connect", imap, "-servername", "mail.example.edu")
		require.Error(t, err, out)
		require.Contains(t, out, "SSL alert number")
	})
}

// TestExampleSharedPort has all the clients of each port.
func TestExampleSharedPort(t *testing.T) {
	t.Parallel()
	need(t, "curl", "openssl")
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "from the web server\n")
	}))
	t.Cleanup(web.Close)
	submission := startPostfix(t, startDovecot(t, tlsOff), "smtpd_upstream_proxy_protocol = haproxy")
	https, smtp := freeAddr(t), freeAddr(t)
	global := "auto_https disable_redirects\ndefault_bind 127.0.0.1\nhttps_port " + port(t, https)
	c := startExample(t, "sharedport", global, map[string]string{
		":443": https, "127.0.0.1:5433": startPostgres(t).addr, "127.0.0.1:8080": web.Listener.Addr().String(),
		":587": smtp, "127.0.0.1:10587": submission,
	}, []string{siteHost, pgHost, mailHost}, https, smtp)

	t.Run("https", func(t *testing.T) {
		where := siteHost + ":" + port(t, https)
		out, err := run(t, clientTimeout, "", "curl", "-sS", "--noproxy", "*", "--cacert", c.Root(),
			"--resolve", where+":127.0.0.1", "https://"+where+"/")
		require.NoError(t, err, out)
		require.Equal(t, "from the web server\n", out)
	})
	t.Run("postgres", func(t *testing.T) {
		f := &front{caddyServer: c, proto: "postgres", host: pgHost, addr: https}
		out, err := psql(t, f.verified(t), "SELECT current_user")
		require.NoError(t, err, out)
		require.Equal(t, "alice\n", out)
	})
	t.Run("postgres with TLS at once", func(t *testing.T) {
		d := c.direct(t, https, pgHost, "-nocommands", "-alpn", "postgresql")
		d.write(pgStartup(pgGuest))
		d.expect(`\AR\x00\x00\x00\x08\x00\x00\x00\x00(?s:.*)Z\x00\x00\x00\x05I`)
	})
	for name, d := range map[string]*dialogue{
		"submission": upgraded(t, c, "smtp", smtp, mailHost), "submissions": c.direct(t, smtp, mailHost),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "submissions" {
				d.expect(`\A220 .*\n`)
			}
			d.send("EHLO client.example")
			require.Contains(t, d.expect(`^250 .*\n`), "250-AUTH PLAIN")
		})
	}
}

// TestExampleEndToEnd has servers with certificates of their own for each tenant, who
// are known by these.
func TestExampleEndToEnd(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ca := newAuthority(t)
	domains := map[string]string{"example.com": "10.0.0.1", "example.net": "10.0.0.2", "example.org": "10.0.0.3"}
	p := &passthroughPort{ca: ca, addrs: map[string]string{"smtp": freeAddr(t), "imap": freeAddr(t), "postgres": freeAddr(t)}}
	words := map[string]string{":587": p.addrs["smtp"], ":143": p.addrs["imap"], ":5432": p.addrs["postgres"]}
	mail := startTenantMail(t, ca, "mail.example.com", "mail.example.net", "mail.example.org")
	for domain, ip := range domains {
		words[ip+":587"], words[ip+":143"] = mail["smtp"]["mail."+domain], mail["imap"]["mail."+domain]
		words[ip+":5432"] = tenantPostgres(t, ca, "db."+domain)
	}
	p.caddyServer = startExample(t, "endtoend", "", words, nil, p.addrs["smtp"], p.addrs["imap"], p.addrs["postgres"])
	cert, key := ca.issue(t, pgUser)
	require.NoError(t, os.Chmod(key, 0o600))
	ask := func(t *testing.T, sni func(host string) string, domain string) {
		p.hold(t, "smtp", sni("mail."), "mail."+domain, [][2]string{{"QUIT", `^221 .*\n`}})
		p.hold(t, "imap", sni("mail."), "mail."+domain, [][2]string{{"a LOGOUT", `^a OK .*\n`}})
		login := pgLogin(t, p.addrs["postgres"]) + " sslmode=verify-full channel_binding=require sslrootcert=" + ca.file +
			" sslcert=" + cert + " sslkey=" + key + " host=db." + domain
		if sni("") == "" {
			login += " sslsni=0"
		}
		out, err := psql(t, login, "SELECT inet_server_port()")
		require.NoError(t, err, out)
		require.Equal(t, port(t, words[domains[domain]+":5432"])+"\n", out)
	}
	for domain := range domains {
		t.Run(domain, func(t *testing.T) { ask(t, func(host string) string { return host + domain }, domain) })
	}
	t.Run("no SNI", func(t *testing.T) { ask(t, func(string) string { return "" }, "example.com") })
}
