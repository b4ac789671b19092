package probe

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// The mail servers of a domain are probed by their own names, in the order of preference,
// and compared with a policy.
func TestRunMX(t *testing.T) {
	a := newAuthority(t)
	s := listen(t, "127.0.0.1:0", mail(&tls.Config{Certificates: []tls.Certificate{*a.issue(t, "mx1.example.com", "mx2.example.com")}}, false))
	z := &zone{secure: true, records: []string{
		"example.com. MX 20 mx2.example.com.", "example.com. MX 10 mx1.example.com.",
		"mx1.example.com. A 127.0.0.1", "mx2.example.com. A 127.0.0.1", "mx2.example.com. A 127.0.0.1",
	}}
	target := s.target("", a, z.serve(t))
	var err error
	target.Policy, err = ParsePolicy("file", strings.ReplaceAll(policy, "MX.example.com", "mx1.example.com"))
	require.NoError(t, err)
	found := RunMX(t.Context(), target, "example.com", false)
	require.Len(t, found.Reports, 2)
	require.Equal(t, Verified, found.Reports[0].Outcome)
	require.Equal(t, "mx1.example.com", found.Reports[0].ServerName)
	require.Equal(t, Unverified, found.Reports[1].Outcome)
	require.True(t, found.Reports[1].Verification.Verified)
	require.Equal(t, []string{"the policy does not allow mx2.example.com"}, found.Reports[1].MTASTS.Problems)
	shown := textOf(t, found)
	require.Contains(t, shown, "Mail for:         example.com\n  server:         10 mx1.example.com\n  server:         20 mx2.example.com\n")
	require.Contains(t, shown, "says that DNSSEC validates this list\n\nS: 220 ")
	require.Contains(t, shown, "MTA-STS policy:   enforce, for 604800 s, mx1.example.com, *.mail.example.com\nMTA-STS:          ok\n")

	found = RunMX(t.Context(), target, "example.com", true)
	require.Len(t, found.Reports, 2, "an address is probed once")

	found = RunMX(t.Context(), s.target("", a, &Resolver{Server: testkit.FreeAddress(t)}), "example.com", false)
	require.Empty(t, found.Reports)
	require.Contains(t, textOf(t, found), "refused")
}

// Every address has its own report, with what is the matter there.
func TestRunAll(t *testing.T) {
	a := newAuthority(t)
	good := tls.Config{Certificates: []tls.Certificate{*a.issue(t, "mx.example.com")}}
	s := listen(t, "127.0.0.1:0", mail(&good, false))
	port := s.address.Port()
	bad := tls.Config{Certificates: []tls.Certificate{*a.issue(t, "old.example.com")}}
	_ = listen(t, net.JoinHostPort("127.0.0.2", testkit.Port(t, s.address.String())), mail(&bad, false))
	z := &zone{records: []string{
		"mx.example.com. A 127.0.0.1", "mx.example.com. A 127.0.0.2", "mx.example.com. A 127.0.0.3", "v4.example.com. A 127.0.0.1",
	}}
	target := s.target("mx.example.com", a, z.serve(t))
	outcomes := map[string]string{}
	for _, r := range RunAll(t.Context(), target) {
		require.Len(t, r.Tried, 1)
		outcomes[strings.TrimSuffix(r.Tried[0].Address, ":"+target.Port)] = r.Outcome
	}
	require.Equal(t, map[string]string{"127.0.0.1": Verified, "127.0.0.2": Unverified, "127.0.0.3": Unreachable}, outcomes)
	require.NotZero(t, port)

	target.Network = "ip6"
	reports := RunAll(t.Context(), target)
	require.Len(t, reports, 1)
	require.Equal(t, Unreachable, reports[0].Outcome)
	target.Network = "ip4"
	require.Len(t, RunAll(t.Context(), target), 3)
}

// TLS may begin with the first byte; whoever takes one kind of server for the other has a hint.
func TestImplicitTLS(t *testing.T) {
	a := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{*a.issue(t, "localhost")}, NextProtos: []string{"smtp"}}
	implicit, asked := listen(t, "127.0.0.1:0", mail(config, true)), listen(t, "127.0.0.1:0", mail(config, false))
	target := implicit.target("localhost", a, nil)
	target.ImplicitTLS, target.Network, target.Hello = true, "ip4", "probe.example.com"
	r := Run(t.Context(), target)
	require.Equal(t, Verified, r.Outcome, r.Error)
	require.Empty(t, r.Dialogue)
	require.Nil(t, r.Times.Negotiate)
	require.Equal(t, "smtp", r.TLS.ALPN)
	require.Equal(t, []string{"AUTH PLAIN", "SIZE 1000"}, r.Capabilities)
	require.Equal(t, []string{"EHLO probe.example.com", "QUIT"}, implicit.said())
	require.Contains(t, textOf(t, r), " (smtp, TLS from the first byte)\n")
	require.Contains(t, textOf(t, r), "Inside TLS:       AUTH PLAIN, SIZE 1000\n")

	target = asked.target("localhost", a, nil)
	target.ImplicitTLS = true
	r = Run(t.Context(), target)
	require.Equal(t, Failed, r.Outcome)
	require.Contains(t, r.Hint, "try without --implicit")

	silent := listen(t, "127.0.0.1:0", func(_ *server, conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	target = silent.target("localhost", a, nil)
	target.Timeout = 500 * time.Millisecond
	r = Run(t.Context(), target)
	require.Equal(t, TimedOut, r.Outcome)
	require.Equal(t, "perhaps TLS from the first byte: try --implicit; "+
		"or the server waits for a PROXY protocol header: try --proxy-protocol v2", r.Hint)
	require.Contains(t, textOf(t, r), "Hint:             perhaps TLS from the first byte")
	target.ImplicitTLS = true
	r = Run(t.Context(), target)
	require.Equal(t, TimedOut, r.Outcome)
	require.Contains(t, r.Hint, "try without --implicit")
}

// A server without a certificate for the name says little more than that something is wrong.
func TestNoCertificateForTheName(t *testing.T) {
	a := newAuthority(t)
	config := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return nil, errors.New("no such name")
	}}
	for _, implicit := range []bool{false, true} {
		target := listen(t, "127.0.0.1:0", mail(config, implicit)).target("localhost", a, nil)
		target.ImplicitTLS = implicit
		r := Run(t.Context(), target)
		require.Equal(t, Failed, r.Outcome)
		require.Contains(t, r.Hint, "no certificate for that name")
	}
	require.True(t, refusesName(&net.OpError{Op: "remote error", Err: alertUnrecognizedName}))
	require.False(t, refusesName(&net.OpError{Op: "remote error", Err: tls.AlertError(40)}))
}

// Whoever has been asked something is told goodbye, whatever came of it.
func TestTakesLeave(t *testing.T) {
	a := newAuthority(t)
	s := listen(t, "127.0.0.1:0", mail(&tls.Config{Certificates: []tls.Certificate{*a.issue(t, "localhost")}}, false))
	r := Run(t.Context(), s.target("localhost", a, nil))
	require.Equal(t, Verified, r.Outcome, r.Error)
	require.Equal(t, []string{"EHLO localhost", "QUIT"}, s.said())
	plain := listen(t, "127.0.0.1:0", func(s *server, conn net.Conn) {
		buf := make([]byte, 1024)
		for _, words := range []string{"220 mx\r\n", "250 mx\r\n", "221 bye\r\n"} {
			_, _ = io.WriteString(conn, words)
			n, _ := conn.Read(buf)
			s.hear(strings.TrimSpace(string(buf[:n])))
		}
	})
	r = Run(t.Context(), plain.target("localhost", a, nil))
	require.Equal(t, NotOffered, r.Outcome, r.Error)
	require.Equal(t, "QUIT", plain.said()[1])
}

// The lowest and the highest version are found, also of a server that has no good one.
func TestVersions(t *testing.T) {
	a := newAuthority(t)
	for name, test := range map[string]struct {
		lowest, highest uint16
		outcome         string
		accepted        string
	}{
		"good":    {tls.VersionTLS12, tls.VersionTLS13, Verified, "no no yes yes"},
		"old":     {tls.VersionTLS10, tls.VersionTLS12, Verified, "yes yes yes no"},
		"weak":    {tls.VersionTLS10, tls.VersionTLS11, Failed, "yes yes no no"},
		"TLS 1.3": {tls.VersionTLS13, tls.VersionTLS13, Verified, "no no no yes"},
		"TLS 1.2": {tls.VersionTLS12, tls.VersionTLS12, Verified, "no no yes no"},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{
				Certificates: []tls.Certificate{*a.issue(t, "localhost")},
				MinVersion:   test.lowest, MaxVersion: test.highest, CipherSuites: allCipherSuites(),
			}
			target := listen(t, "127.0.0.1:0", mail(config, false)).target("localhost", a, nil)
			target.Versions, target.Network = true, "ip4"
			r := Run(t.Context(), target)
			require.Equal(t, test.outcome, r.Outcome, r.Error)
			var accepted []string
			for _, v := range r.Versions {
				accepted = append(accepted, v.Accepted)
				require.Equal(t, v.Accepted == "yes", v.Error == "", v.Version)
			}
			require.Equal(t, test.accepted, strings.Join(accepted, " "), "%v", r.Versions)
			require.Regexp(t, `(?m)^TLS 1\.0: +(accepted|refused, .*)$`, textOf(t, r))
		})
	}
}

// A server may ask for a certificate, insist on one, or have it.
func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	client := a.issue(t, "client.example.com")
	for name, test := range map[string]struct {
		auth tls.ClientAuthType
		cert *tls.Certificate
		most uint16
		want string
	}{
		"not asked for":   {tls.NoClientCert, client, 0, certificateNotAsked},
		"asked for":       {tls.RequestClientCert, nil, 0, certificateAsked},
		"required":        {tls.RequireAndVerifyClientCert, nil, 0, certificateRequired},
		"sent":            {tls.RequireAndVerifyClientCert, client, 0, certificateSent},
		"sent in TLS 1.2": {tls.RequireAndVerifyClientCert, client, tls.VersionTLS12, certificateSent},
	} {
		t.Run(name, func(t *testing.T) {
			config := &tls.Config{Certificates: []tls.Certificate{*a.issue(t, "localhost")}, ClientAuth: test.auth, ClientCAs: a.roots(), MaxVersion: test.most}
			target := listen(t, "127.0.0.1:0", mail(config, false)).target("localhost", a, nil)
			target.Certificate = test.cert
			r := Run(t.Context(), target)
			require.Equal(t, Verified, r.Outcome, r.Error)
			require.Equal(t, test.want, r.ClientCertificate)
			require.Equal(t, test.want == certificateRequired, r.CapabilitiesError != "", r.CapabilitiesError)
			require.Equal(t, test.want != certificateNotAsked, strings.Contains(textOf(t, r), "Client:           certificate "+test.want))
		})
	}
	t.Run("required where nothing is asked inside TLS", func(t *testing.T) {
		config := &tls.Config{Certificates: []tls.Certificate{*a.issue(t, "localhost")}, ClientAuth: tls.RequireAnyClientCert}
		target := listen(t, "127.0.0.1:0", func(_ *server, raw net.Conn) {
			_, _ = upgrade.Accept(t.Context(), raw, upgrade.Postgres, &upgrade.Config{TLS: config})
		}).target("localhost", a, nil)
		target.Protocol = upgrade.Postgres
		r := Run(t.Context(), target)
		require.Equal(t, Verified, r.Outcome, r.Error)
		require.Equal(t, certificateRequired, r.ClientCertificate)
	})
}

// What is left of a lifetime is in hours where days say little, and worth a warning if that is
// asked for.
func TestExpiry(t *testing.T) {
	a := newAuthority(t)
	hour := time.Hour
	for left, want := range map[time.Duration]string{
		101*24*hour + hour: "101 days left", 2*24*hour + hour: "2 days left", 30 * hour: "29 hours left", hour / 2: "0 hours left",
		-hour - hour/2: "expired 1 hours ago", -50 * hour: "expired 2 days ago",
	} {
		template := testkit.Template("localhost")
		template.NotBefore, template.NotAfter = time.Now().Add(-100*hour), time.Now().Add(left)
		cert := testkit.Issue(t, template, testkit.NewKey(t), nil)
		target := listen(t, "127.0.0.1:0", mail(&tls.Config{Certificates: []tls.Certificate{*cert}}, false)).target("localhost", a, nil)
		target.Roots, target.Expiry = testkit.Trust(cert), 14*24*hour
		r := Run(t.Context(), target)
		require.Contains(t, textOf(t, r), " UTC, "+want+"\n")
		if left > target.Expiry {
			require.Empty(t, r.Warning)
			continue
		}
		require.Equal(t, "the certificate: "+want, r.Warning)
		require.Contains(t, textOf(t, r), "Warning:          the certificate: "+want+"\n")
	}
	v := chainOf(t, a.issue(t, "localhost"))
	v[0].NotAfter = time.Now().Add(10 * hour)
	require.Equal(t, "the certificate of CN=Intermediate: 0 hours left", warning(v, time.Now(), 2*hour))
}

// The chain is there as PEM, and has the fingerprints that are reported.
func TestPEM(t *testing.T) {
	a := newAuthority(t)
	cert := a.issue(t, "localhost")
	target := listen(t, "127.0.0.1:0", mail(&tls.Config{Certificates: []tls.Certificate{*cert}}, false)).target("localhost", a, nil)
	require.NotContains(t, textOf(t, Run(t.Context(), target)), "BEGIN")
	target.PEM = true
	rest := []byte(textOf(t, Run(t.Context(), target)))
	for _, want := range cert.Certificate {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		require.NotNil(t, block)
		require.Equal(t, want, block.Bytes)
		_, err := x509.ParseCertificate(block.Bytes)
		require.NoError(t, err)
	}
	require.Empty(t, rest)
}

// Colours are for the verdicts, and nowhere else.
func TestColor(t *testing.T) {
	var out strings.Builder
	good := &Report{Protocol: "smtp", Address: "\x1b[31mx", Outcome: Verified, Warning: "soon", TLS: &TLS{}, Verification: new(Verification)}
	require.NoError(t, good.WriteColor(&out))
	require.Contains(t, out.String(), "Result:           \x1b[32mverified\x1b[0m\n")
	require.Contains(t, out.String(), "Warning:          \x1b[33msoon\x1b[0m\n")
	require.NotContains(t, out.String(), "\x1b[31m")
	require.NotContains(t, textOf(t, good), "\x1b")
	out.Reset()
	require.NoError(t, (&Summary{Reports: []*Report{{Outcome: Failed, Error: "why"}}}).WriteColor(&out))
	require.Contains(t, out.String(), "Result:           \x1b[31mfailed, why\x1b[0m\n")
}
