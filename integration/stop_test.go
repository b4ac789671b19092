package integration_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/stretchr/testify/require"

	_ "github.com/l4starttls/caddy-l4-starttls"
	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// asCaddy has the test binary be a Caddy.
const asCaddy = "L4STARTTLS_TEST_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// A process is a Caddy of its own, which can be stopped without the tests.
type process struct {
	*instance
	admin  string
	cmd    *exec.Cmd
	output bytes.Buffer
	ended  chan struct{} // closed when it has
	err    error         // with which it has
}

// command is Caddy's command with some arguments.
func (p *process) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asCaddy+"=1", "XDG_DATA_HOME="+p.dir, "XDG_CONFIG_HOME="+p.dir)
	return cmd
}

// start runs Caddy's command with some arguments, until the end of the test.
func (p *process) start(t *testing.T, args ...string) {
	t.Helper()
	p.cmd = p.command(args...)
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Log(p.output.String())
		}
	})
}

// startProcess runs a Caddy with servers and global options, and waits for certificates.
func startProcess(t *testing.T, servers string, names []string, options ...string) *process {
	t.Helper()
	p := &process{instance: newInstance(t), admin: freeAddress(t), ended: make(chan struct{})}
	file := filepath.Join(p.dir, "Caddyfile")
	config := strings.NewReplacer("admin off", "admin "+p.admin, "level INFO", "level DEBUG").Replace(p.caddyfile(servers, options...))
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p.start(t, "run", "--adapter", "caddyfile", "--config", file)
	for _, name := range names {
		require.Eventually(t, func() bool { return p.hasCertificate(name) }, patience, 20*time.Millisecond, "no certificate for %s", name)
	}
	return p
}

// hasCertificate looks into the log: a handshake before the certificate is in the cache
// fails.
func (p *process) hasCertificate(name string) bool {
	log, err := os.ReadFile(p.logFile())
	return err == nil && strings.Contains(string(log), `"data":{"sans":["`+name+`"]}}`)
}

// stopping are the ways to stop a Caddy.
var stopping = map[string]func(t *testing.T, p *process){
	"SIGTERM": func(t *testing.T, p *process) { require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM)) },
	"caddy stop": func(t *testing.T, p *process) {
		cmd := p.command("stop", "--address", p.admin)
		require.NoError(t, cmd.Start())
		go func() { _ = cmd.Wait() }()
	},
}

// requireEnd requires that the process ends, and well.
func (p *process) requireEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
		require.NoError(t, p.err)
	case <-time.After(patience):
		require.FailNow(t, "Caddy does not end")
	}
}

// When a Caddy is stopped, negotiations end in the protocol's words, and sessions go on
// until their time is over; then they have a proper end, and Caddy ends.
func TestStopping(t *testing.T) {
	for name, stop := range stopping {
		t.Run(name, func(t *testing.T) {
			sites, servers, names := stoppingSites(t)
			p := startProcess(t, servers, names, "starttls {\ngrace_period 3s\n}")
			sessions, negotiations := make([]*peer, len(sites)), make([]*peer, len(sites))
			for i, s := range sites {
				sessions[i] = s.requireUpgraded(t, p.trust(), step{})
				var err error
				negotiations[i], err = s.dial(p.trust())
				require.NoError(t, err)
				require.NoError(t, negotiations[i].run(s.talk.greet))
			}
			stop(t, p)
			begun := time.Now()
			for i, s := range sites {
				require.NoError(t, requireGoodbye(negotiations[i], s), s.protocol)
				require.NoError(t, s.again(sessions[i]), "%s goes on", s.protocol)
			}
			for i, s := range sites {
				require.NoError(t, requireCleanEnd(sessions[i]), s.protocol)
			}
			require.GreaterOrEqual(t, time.Since(begun), 2*time.Second, "the grace period")
			p.requireEnd(t)
		})
	}
}

// stoppingSites are one of each protocol, with an access log.
func stoppingSites(t *testing.T) (sites []*site, servers string, names []string) {
	for _, s := range sitePerProtocol(t, nil) {
		s.timeout = 30 * time.Second
		s.lines = []string{"log"}
		sites, servers, names = append(sites, s), servers+s.String(), append(names, s.hostnames()...)
	}
	return sites, servers, names
}

// requireGoodbye reads what a client is told, up to the end of the connection. A session of
// a protocol that dials early is the backend's already, and has grace.
func requireGoodbye(p *peer, s *site) error {
	if dialsEarly(s.protocol) {
		return nil
	}
	_ = p.raw.SetReadDeadline(time.Now().Add(2 * time.Second))
	words, err := io.ReadAll(p.raw)
	if err != nil {
		return err
	}
	if pattern := regexp.MustCompile(s.talk.stopping); !pattern.MatchString(testkit.Latin1(words)) {
		return fmt.Errorf("heard %q, want %s", words, pattern)
	}
	return p.raw.Close()
}

// requireCleanEnd reads up to close_notify, and the end behind it.
func requireCleanEnd(p *peer) error {
	_ = p.raw.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, p.tls); err != nil {
		return fmt.Errorf("no close_notify: %w", err)
	}
	if n, err := p.raw.Read(make([]byte, 1)); n > 0 || err != io.EOF { //nolint:errorlint // of a TCP connection
		return fmt.Errorf("no end: %d octets, %w", n, err)
	}
	return p.raw.Close()
}

// Sessions that end by themselves are not waited for any longer, and each has its entry in
// the log.
func TestStoppingWaitsNoLongerThanItMust(t *testing.T) {
	sites, servers, names := stoppingSites(t)
	p := startProcess(t, servers, names, "starttls {\ngrace_period 1h\n}")
	var sessions []*peer
	for _, s := range sites {
		sessions = append(sessions, s.requireUpgraded(t, p.trust(), step{}))
	}
	stopping["SIGTERM"](t, p)
	for i, s := range sites {
		require.NoError(t, s.again(sessions[i]), "%s goes on", s.protocol)
		require.NoError(t, sessions[i].raw.Close())
	}
	p.requireEnd(t)
	require.Len(t, p.entries(accessOf("")), len(sites))
}

// With a grace period of zero all ends at once, with close_notify, amid what is said.
func TestStoppingAtOnce(t *testing.T) {
	s := newSite(t, "pop3")
	s.lines = []string{"log"}
	s.backend = startBackend(t, func(conn net.Conn) error {
		_, _ = io.WriteString(conn, "+OK hello\r\n+OK what is there\r\n")
		for {
			if _, err := io.WriteString(conn, strings.Repeat("1 1\r\n", 1000)); err != nil {
				return nil
			}
		}
	})
	p := startProcess(t, s.String(), s.hostnames(), "starttls {\ngrace_period 0\n}")
	client, err := s.dial(p.trust())
	require.NoError(t, err)
	require.NoError(t, client.run(append(s.talk.ask(), step{StartTLS: true})))
	writes(t, client.tls, "LIST\r\n")
	_, err = io.ReadFull(client.tls, make([]byte, 1<<20))
	require.NoError(t, err)
	stopping["SIGTERM"](t, p)
	require.NoError(t, requireCleanEnd(client))
	p.requireEnd(t)
	entry := p.entries(accessOf(""))
	require.Len(t, entry, 1)
	require.Equal(t, "proxy", entry[0]["ended_by"])
	require.Equal(t, "shutting down", entry[0]["error"])
}

// TLS that is passed through is not ours to end: it ends at once.
func TestStoppingHasNoGraceForPassthrough(t *testing.T) {
	s := newSite(t, "smtp")
	s.lines, s.names = []string{"passthrough"}, []string{""}
	p := startProcess(t, s.String(), nil, "starttls {\ngrace_period 1h\n}")
	var client *peer
	require.Eventually(t, func() bool {
		var err error
		client, err = s.dial(&tls.Config{InsecureSkipVerify: true})
		return err == nil
	}, patience, 20*time.Millisecond)
	require.NoError(t, client.run([]step{
		{Expect: `^220 `}, {SendText: "STARTTLS\r\n"}, {Expect: "^220 "}, {SendHex: "160301"}, {Expect: "^220 "},
	}))
	stopping["SIGTERM"](t, p)
	require.NoError(t, client.run([]step{{ExpectClose: true}}))
	p.requireEnd(t)
}

// Both legs of an upstream's session end properly.
func TestStoppingWithUpstreams(t *testing.T) {
	a := newAuthority(t)
	joints := jointPerProtocol(t, a, servesInside)
	servers, ended := "", make(chan error, len(joints))
	for _, j := range joints {
		j.up.serve = func(conn net.Conn) error {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
			return err
		}
		servers += j.String()
	}
	p := startProcess(t, servers, nil, "starttls {\ngrace_period 1s\n}")
	var clients []*net.TCPConn
	for _, j := range joints {
		client := awaitListener(t, j.address)
		requireReads(t, client, j.greeting())
		j.open(t, client)
		_ = j.up.next(t)
		clients = append(clients, client)
	}
	stopping["SIGTERM"](t, p)
	for i, client := range clients {
		_, err := io.Copy(io.Discard, client)
		require.NoError(t, err, joints[i].protocol())
		require.NoError(t, <-ended, "%s: close_notify", joints[i].protocol())
	}
	p.requireEnd(t)
}

// awaitListener connects a client as soon as somebody listens.
func awaitListener(t *testing.T, address string) (client *net.TCPConn) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			client = conn.(*net.TCPConn)
		}
		return err == nil
	}, patience, 20*time.Millisecond)
	t.Cleanup(func() { _ = client.Close() })
	require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
	return client
}

// A reload ends nothing, whatever the grace period is.
func TestReloadIsNoStop(t *testing.T) {
	s := newSite(t, "pop3")
	c := serve(t, s)
	p := s.requireUpgraded(t, c.trust(), step{})
	waiting, err := s.dial(c.trust())
	require.NoError(t, err)
	require.NoError(t, waiting.run(s.talk.greet))
	c.load(c.caddyfile(s.String(), "starttls {\ngrace_period 0\n}"))
	c.load(c.caddyfile(s.String(), "starttls {\ngrace_period 1ms\n}"))
	require.NoError(t, s.again(p))
	require.NoError(t, waiting.run([]step{{SendText: "STLS\r\n"}, {Expect: `^\+OK`}, {StartTLS: true}}))
}
