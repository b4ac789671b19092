package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

type object = map[string]any

// ways are this plugin's and caddy-l4's own.
func (l *lab) ways() (targets []*target, routes [][]object) {
	b := l.backend
	add := func(t target, handlers ...object) {
		targets, routes = append(targets, &t), append(routes, handlers)
	}
	starttls := func(protocol string) object {
		return object{"handler": "starttls", "protocol": protocol, "hostnames": []string{serverName}}
	}
	secure, proxy := object{"handler": "tls"}, proxyTo(b.smtp, nil)
	upstreamTLS := object{"server_name": serverName, "ca": object{"provider": "file", "pem_files": []string{l.dir + "/cert.pem"}}}
	greeting := talk{plain: smtpPlain[:1]}
	raw := []string{"raw-up", "raw-down"}

	add(target{name: "caddy-l4 tls + proxy", talk: implicit, parts: "ctmn", moves: append(mailMoves, raw...), stalled: new(talk)}, secure, proxy)
	add(target{name: "ours, smtp", talk: smtp, parts: "ctmn", moves: raw, stalled: &greeting}, starttls("smtp"), proxy)
	add(target{name: "ours, smtp, resumed", talk: smtp, resumed: true, parts: "c"}, starttls("smtp"), proxy)
	add(target{name: "ours, smtp, filter stays", talk: smtp, parts: "tm", moves: mailMoves}, starttls("smtp"), proxyTo(b.starting, nil))
	add(target{name: "ours, imap", talk: imap, parts: "c"}, starttls("imap"), proxyTo(b.imap, nil))
	add(target{name: "ours, pop3", talk: pop3, parts: "c"}, starttls("pop3"), proxyTo(b.pop3, nil))
	add(target{name: "ours, smtp, MAIL and RCPT", talk: smtpMail, parts: "c"}, starttls("smtp"), proxy)
	add(target{name: "ours, imap, LOGIN", talk: imapLogin, parts: "c"}, starttls("imap"), proxyTo(b.imap, nil))
	add(target{name: "ours, pop3, PASS", talk: pop3Login, parts: "c"}, starttls("pop3"), proxyTo(b.pop3, nil))
	add(target{name: "ours, postgres", talk: postgres, parts: "ctm", moves: raw}, starttls("postgres"), proxyTo(b.postgres, nil))
	add(target{name: "caddy-l4 postgres_tls + tls", talk: postgres, parts: "ctm", moves: raw}, object{"handler": "postgres_tls"}, secure, proxyTo(b.postgres, nil))
	add(target{name: "ours, ldap", talk: ldap, parts: "c"}, starttls("ldap"), proxyTo(b.ldap, nil))
	add(target{name: "caddy-l4 proxy with TLS upstream", talk: clearMail, parts: "ct", moves: raw}, proxyTo(b.implicit, upstreamTLS))
	add(target{name: "ours, starttls_upstream smtp", talk: clearMail, parts: "ct", moves: raw},
		object{"handler": "starttls_upstream", "protocol": "smtp", "tls": upstreamTLS}, proxyTo(b.upgraded, nil))
	add(target{name: idles, parts: "n", stalled: new(talk)}, object{"handler": "stand_still"})
	return targets, routes
}

func proxyTo(address string, tls object) object {
	upstream := object{"dial": []string{address}}
	if tls != nil {
		upstream["tls"] = tls
	}
	return object{"handler": "proxy", "upstreams": []object{upstream}}
}

func (l *lab) addCaddy() error {
	targets, routes := l.ways()
	servers := object{}
	for i, t := range targets {
		t.address = freeAddress()
		servers[strconv.Itoa(i)] = object{"listen": []string{t.address}, "routes": []object{{"handle": routes[i]}}}
	}
	certificate := object{"certificate": l.dir + "/cert.pem", "key": l.dir + "/key.pem"}
	admin := freeAddress()
	config, err := json.MarshalIndent(object{
		"admin":   object{"listen": admin, "config": object{"persist": false}},
		"storage": object{"module": "file_system", "root": l.dir + "/storage"},
		"apps": object{
			"tls":    object{"certificates": object{"load_files": []object{certificate}}},
			"layer4": object{"servers": servers},
		},
	}, "", "\t")
	if err != nil {
		return err
	}
	file, err := l.file("caddy.json", string(config))
	l.add(&process{
		name: l.settings.caddy, args: []string{"run", "--config", file}, version: caddyVersion(l.settings.caddy),
		env:   []string{"FLOOD_CADDY=1", "XDG_DATA_HOME=" + l.dir, "XDG_CONFIG_HOME=" + l.dir},
		ready: []string{admin, targets[0].address}, live: func() (int64, error) { return caddyMemory(admin) },
		allocated: func() ([2]float64, error) { return caddyAllocations(admin) },
	}, targets...)
	return err
}

// caddyVersion is Caddy's, and Go's.
func caddyVersion(binary string) string {
	cmd := version("go", "version", binary)
	_, goVersion, _ := strings.Cut(cmd, ": ")
	return "Caddy of go.mod, " + goVersion
}

// caddyMemory is what is in use, for data and for stacks, once garbage has been collected.
func caddyMemory(admin string) (sum int64, err error) {
	for range 2 {
		if _, err := get(admin, "/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
	}
	metrics, err := get(admin, "/metrics")
	for lines := bufio.NewScanner(strings.NewReader(metrics)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), " ")
		if name == "go_memstats_heap_alloc_bytes" || name == "go_memstats_stack_inuse_bytes" {
			n, _ := strconv.ParseFloat(value, 64)
			sum += int64(n)
		}
	}
	return sum, err
}

func get(address, path string) (string, error) {
	response, err := http.Get("http://" + address + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// addRelay has this program be the bare relay.
func (l *lab) addRelay() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := relayConfig{
		SMTP: freeAddress(), SMTPBackend: l.backend.smtp, Postgres: freeAddress(), PostgresBackend: l.backend.postgres,
		Live: freeAddress(), Cert: l.dir + "/cert.pem", Key: l.dir + "/key.pem",
	}
	text, err := json.Marshal(c)
	live := func() (n int64, err error) {
		body, err := get(c.Live, "/live")
		if err == nil {
			_, err = fmt.Sscan(body, &n)
		}
		return n, err
	}
	l.add(&process{
		name: self, version: version("go", "version"), env: []string{asRelay + "=" + string(text)}, live: live,
		ready: []string{c.SMTP, c.Live},
	},
		&target{name: "bare Go relay, smtp", talk: smtp, address: c.SMTP, parts: "ctm", moves: []string{"raw-up", "raw-down"}},
		&target{name: "bare Go relay, postgres", talk: postgres, address: c.Postgres, parts: "c"})
	return err
}
