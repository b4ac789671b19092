package integration_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const cancelRequest = "\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x10\x92\x07\x5b\xcd\x15"

// cancel sends a request to cancel, and waits for the end of the connection: it has no answer.
func cancel(t testing.TB, address string) (local string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, patience)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	writes(t, conn, cancelRequest)
	requireRest(t, conn, "")
	return conn.LocalAddr().String()
}

// A CancelRequest in plaintext reaches the backend by whatever route a client without SNI
// takes, and nothing else of its client does.
func TestCancelRequestReachesTheBackend(t *testing.T) {
	a := newAuthority(t)
	inside, refuses := make(chan string, 1), newBackend(t, "postgres", nil)
	up := newUpgrader(t, "postgres", a.server(t, upstreamName), func(u *upgrader) {
		u.serve = func(conn net.Conn) error {
			message, err := readStartup(conn)
			inside <- message
			return err
		}
	})
	upstream := fmt.Sprintf("starttls_upstream postgres {\ntls_server_name %s\ntls_trust_pool file %s\n", upstreamName, a.file)
	for name, try := range map[string]struct {
		options  string // of starttls
		handlers string // behind it; BACKEND is the backend's address
	}{
		"required":                {"", "proxy BACKEND"},
		"optional":                {"policy optional", "proxy BACKEND"},
		"implicit TLS":            {"implicit_tls", "proxy BACKEND"},
		"passthrough":             {"passthrough", "proxy BACKEND"},
		"without SNI":             {"", "subroute {\n@a upgraded sni a.example.com\nroute @a {\nproxy " + refuses.address() + "\n}\nroute {\nproxy BACKEND\n}\n}"},
		"by SNI of passed TLS":    {"passthrough", "subroute {\n@a tls sni a.example.com\nroute @a {\nproxy " + refuses.address() + "\n}\nroute {\nproxy BACKEND\n}\n}"},
		"by the client's address": {"", "subroute {\n@a remote_ip 127.0.0.1\nroute @a {\nproxy BACKEND\n}\nroute {\nproxy " + refuses.address() + "\n}\n}"},
		"passed to an upstream":   {"passthrough", "starttls_upstream postgres {\npassthrough\n}\nproxy BACKEND"},
		"inside TLS":              {"", upstream + "}\nproxy " + up.address()},
		"upstream without TLS":    {"", upstream + "policy optional\n}\nproxy BACKEND"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "postgres")
			s.backend = startBackend(t, cancelled)
			c := startCaddy(t, fmt.Sprintf("%s {\nroute {\nstarttls postgres %s {\n%s\nlog\n}\n%s\n}\n}\n", s.address,
				map[bool]string{false: "mail.example.com"}[try.options == "passthrough"], try.options,
				strings.ReplaceAll(try.handlers, "BACKEND", s.backend.address())))
			if try.options != "passthrough" {
				c.awaitCertificates("mail.example.com")
			}
			before := cancelRequests(t)
			local := cancel(t, s.address)
			if name == "inside TLS" {
				up.next(t)
				require.Equal(t, cancelRequest, <-inside)
			} else {
				require.NoError(t, s.backend.await())
				require.Equal(t, cancelRequest, strings.TrimPrefix(string(s.backend.received()), sslRequest))
			}
			entry := c.awaitEntries(1, accessOf(""))[0]
			require.Equal(t, "cancel_request", entry["outcome"])
			require.Equal(t, local, entry["remote"])
			require.InDelta(t, len(cancelRequest), entry["bytes_up"], 0)
			require.NotContains(t, entry, "error")
			require.InDelta(t, before+1, cancelRequests(t), 0)
		})
	}
	require.Zero(t, refuses.dialled())
}

// cancelled serves one that cancels, or asks for TLS that there is not.
func cancelled(conn net.Conn) error {
	message, err := readStartup(conn)
	if err != nil {
		return unlessEnded(err)
	}
	if message == sslRequest {
		_, _ = io.WriteString(conn, "N")
		_, err = readStartup(conn)
		return unlessEnded(err)
	}
	return nil
}

func cancelRequests(t testing.TB) float64 {
	t.Helper()
	value, _ := sample(t, "caddy_layer4_starttls_negotiations_total", "protocol", "postgres", "outcome", "cancel_request")
	return value
}

// What a client sends behind its CancelRequest is never forwarded, whenever it comes.
func TestNothingElseOfWhoCancelsReachesTheBackend(t *testing.T) {
	s := newSite(t, "postgres")
	c := serve(t, s)
	for _, script := range [][]step{
		{{SendText: cancelRequest + startup}, {ExpectClose: true}},
		{{SendText: cancelRequest}, {WaitMS: 50}, {SendText: startup}, {ExpectClose: true}},
		{{SendText: cancelRequest + startup, Chunk: 1}, {ExpectClose: true}},
	} {
		p, err := s.dial(c.trust())
		require.NoError(t, err)
		require.NoError(t, p.run(script))
		require.Empty(t, p.plain)
		require.NoError(t, p.raw.Close())
	}
	require.NoError(t, s.backend.await())
	require.NotContains(t, string(s.backend.received()), "alice")
	requireSample(t, 0, 0, "caddy_layer4_starttls_sessions_in_flight", "protocol", "postgres")
}

// A flood of them leaves nothing behind, also where the backend is not there, or says a lot,
// and whether its clients wait or not.
func TestFloodOfCancelRequests(t *testing.T) {
	s, down := newSite(t, "postgres"), newSite(t, "postgres")
	talks := newSite(t, "postgres")
	talks.backend = startBackend(t, func(conn net.Conn) error {
		_, _ = io.WriteString(conn, strings.Repeat("E", 1<<20))
		_, _ = io.Copy(io.Discard, conn)
		return nil
	})
	serve(t, s, talks, down)
	require.NoError(t, down.backend.ln.Close())
	flood := func(n int) {
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for i := range n / 16 {
					site := []*site{s, talks, down}[(worker+i)%3]
					conn, err := net.DialTimeout("tcp", site.address, patience)
					if err != nil {
						continue
					}
					_ = conn.SetDeadline(time.Now().Add(patience))
					_, _ = io.WriteString(conn, cancelRequest)
					if site != talks && i%2 == 0 {
						_, _ = io.Copy(io.Discard, conn)
					}
					_ = conn.Close()
				}
			})
		}
		all.Wait()
	}
	flood(160)
	require.NoError(t, s.backend.await())
	time.Sleep(settle)
	before := measure(t)
	flood(3200)
	requireBack(t, before)
}
