package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

const patience = 20 * time.Second

// A zone is a DNS server: records by name and type, as in zone files.
type zone struct {
	records  []string
	secure   bool // it says that DNSSEC validates
	rcode    int
	truncate bool // by UDP
	lie      bool // it answers another question

	mu    sync.Mutex
	asked []string
}

// serve runs it, by UDP and TCP, until the end of the test.
func (z *zone) serve(t *testing.T) *Resolver {
	t.Helper()
	address := testkit.FreeAddress(t)
	packets, err := net.ListenPacket("udp", address)
	require.NoError(t, err)
	ln, err := net.Listen("tcp", address)
	require.NoError(t, err)
	for _, server := range []*dns.Server{{PacketConn: packets, Handler: z}, {Listener: ln, Handler: z}} {
		started := make(chan struct{})
		server.NotifyStartedFunc = func() { close(started) }
		go func() { _ = server.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = server.Shutdown() })
	}
	return &Resolver{Server: address}
}

// publish adds a record, and says whether DNSSEC validates it and the others.
func (z *zone) publish(record string, secure bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records, z.secure = append(z.records, record), secure
}

// questions are those that have been asked.
func (z *zone) questions() []string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked
}

// ServeDNS implements dns.Handler.
func (z *zone) ServeDNS(w dns.ResponseWriter, query *dns.Msg) {
	question := query.Question[0]
	z.mu.Lock()
	defer z.mu.Unlock()
	z.asked = append(z.asked, w.LocalAddr().Network()+" "+question.Name+" "+dns.TypeToString[question.Qtype])
	reply := new(dns.Msg).SetRcode(query, z.rcode)
	reply.AuthenticatedData = z.secure && query.AuthenticatedData
	reply.RecursionAvailable = true
	for _, text := range z.records {
		record, err := dns.NewRR(text)
		if err == nil && record.Header().Rrtype == question.Qtype && strings.EqualFold(record.Header().Name, question.Name) {
			reply.Answer = append(reply.Answer, record)
		}
	}
	if z.truncate && w.LocalAddr().Network() == "udp" {
		reply.Truncated, reply.Answer = true, nil
	}
	if z.lie {
		reply.Question[0].Name = "other.example."
	}
	_ = w.WriteMsg(reply)
}

// An authority has a root and an intermediate.
type authority struct{ root, intermediate *tls.Certificate }

func newAuthority(t *testing.T) *authority {
	root := testkit.Issue(t, testkit.AuthorityTemplate("Root"), testkit.NewKey(t), nil)
	return &authority{root, testkit.Issue(t, testkit.AuthorityTemplate("Intermediate"), testkit.NewKey(t), root)}
}

// issue makes a certificate for names, which the intermediate signs.
func (a *authority) issue(t *testing.T, names ...string) *tls.Certificate {
	return testkit.Issue(t, testkit.Template(names...), testkit.NewKey(t), a.intermediate)
}

func (a *authority) roots() *x509.CertPool { return testkit.Trust(a.root) }

// A server serves each connection, and keeps what clients say inside TLS or, if they are
// refused, before it.
type server struct {
	address netip.AddrPort
	mu      sync.Mutex
	heard   []string
}

func listen(t *testing.T, at string, serve func(*server, net.Conn)) *server {
	t.Helper()
	s := new(server)
	ready := make(chan struct{})
	address := testkit.Serve(t, at, func(conn net.Conn) {
		<-ready
		serve(s, conn)
	})
	s.address = netip.MustParseAddrPort(address)
	close(ready)
	return s
}

func (s *server) hear(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, text)
}

func (s *server) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard
}

// mail is an SMTP server, which upgrades; or with implicit TLS, which it begins with.
func mail(config *tls.Config, implicit bool) func(*server, net.Conn) {
	return func(s *server, raw net.Conn) {
		var conn io.ReadWriter
		if implicit {
			t := tls.Server(raw, config)
			defer func() { _ = t.Close() }()
			_, _ = io.WriteString(t, "220 mx ESMTP\r\n")
			conn = t
		} else {
			c, err := upgrade.Accept(context.Background(), raw, upgrade.SMTP, &upgrade.Config{TLS: config})
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			conn = c
		}
		buf := make([]byte, 1024)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			words := strings.TrimSpace(string(buf[:n]))
			s.hear(words)
			if words == "QUIT" {
				_, _ = io.WriteString(conn, "221 bye\r\n")
				return
			}
			_, _ = io.WriteString(conn, "250-mx\r\n250-AUTH PLAIN\r\n250 SIZE 1000\r\n")
		}
	}
}

// target is for a server, by a name of which the resolver knows the address.
func (s *server) target(host string, a *authority, r *Resolver) Target {
	_, port, _ := net.SplitHostPort(s.address.String())
	return Target{
		Protocol: upgrade.SMTP, Host: host, Port: port, ServerName: host, Timeout: patience, Resolver: r, Roots: a.roots(),
	}
}

func textOf(t *testing.T, r interface{ WriteText(io.Writer) error }) string {
	var out strings.Builder
	require.NoError(t, r.WriteText(&out))
	return out.String()
}
