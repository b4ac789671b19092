package probe

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const policy = "version: STSv1\r\nmode: enforce\r\nmx: MX.example.com\r\nmx: *.mail.example.com\r\nmax_age: 604800\r\n"

func TestParsePolicy(t *testing.T) {
	p, err := ParsePolicy("file", policy+"later: field\n\nmode: none\n")
	require.NoError(t, err)
	require.Equal(t, &MTASTS{Source: "file", Mode: "enforce", MaxAge: 604800, MX: []string{"mx.example.com", "*.mail.example.com"}}, p)
	for text, want := range map[string]string{
		"":       "version",
		"<html>": "no colon",
		strings.ReplaceAll(policy, "STSv1", "STSv2"): `version "STSv2"`,
		strings.ReplaceAll(policy, "enforce", "on"):  `mode "on"`,
		strings.ReplaceAll(policy, "604800", "long"): `max_age "long"`,
		strings.ReplaceAll(policy, "604800", "-1"):   `max_age "-1"`,
		strings.ReplaceAll(policy, "max_age", "age"): "no max_age",
		strings.ReplaceAll(policy, "mx:", "my:"):     "no mx",
	} {
		_, err := ParsePolicy("file", text)
		require.ErrorContains(t, err, want, text)
	}
}

func TestPolicyAllows(t *testing.T) {
	p, err := ParsePolicy("", policy)
	require.NoError(t, err)
	for host, want := range map[string]bool{
		"mx.example.com": true, "Mx.Example.Com.": true, "a.mail.example.com": true,
		"mail.example.com": false, "a.b.mail.example.com": false, "mx2.example.com": false, "example.com": false, "mx": false, "": false,
	} {
		require.Equal(t, want, p.allows(host), host)
	}
}

// A server must be allowed by name, and have a certificate for that name.
func TestPolicyIsCompared(t *testing.T) {
	p, err := ParsePolicy("", policy)
	require.NoError(t, err)
	require.True(t, p.compare("mx.example.com", nil).Verified)
	require.Equal(t, []string{"expired"}, p.compare("mx.example.com", []string{"expired"}).Problems)
	other := p.compare("other.example.com", nil)
	require.False(t, other.Matches)
	require.Equal(t, []string{"the policy does not allow other.example.com"}, other.Problems)
	require.Empty(t, p.Problems, "one server's problems are not another's")
	p.Mode = "none"
	require.True(t, p.compare("other.example.com", []string{"expired"}).Verified)
}

func TestFetchPolicy(t *testing.T) {
	const record = `_mta-sts.example.com. TXT "v=STSv1; id=20260101;"`
	serve := func(kind, body string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			require.Equal(t, "mta-sts.example.com", r.Host)
			require.Equal(t, "/.well-known/mta-sts.txt", r.URL.Path)
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Location", "https://mta-sts.example.com/elsewhere")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, test := range map[string]struct {
		records []string
		serve   http.HandlerFunc
		problem string
	}{
		"good":         {[]string{record}, serve("text/plain; charset=utf-8", policy, 200), ""},
		"no record":    {nil, serve("text/plain", policy, 200), "must have one TXT record"},
		"two records":  {[]string{record, `_mta-sts.example.com. TXT "v=STSv1; id=2"`}, serve("text/plain", policy, 200), "and has 2"},
		"other record": {[]string{`_mta-sts.example.com. TXT "v=spf1 -all"`}, serve("text/plain", policy, 200), "and has 0"},
		"redirect":     {[]string{record}, serve("text/plain", policy, 301), "status 301"},
		"missing":      {[]string{record}, serve("text/plain", policy, 404), "status 404"},
		"HTML":         {[]string{record}, serve("text/html", policy, 200), `content type "text/html"`},
		"large":        {[]string{record}, serve("text/plain", strings.Repeat("x: y\n", maxPolicy), 200), "more than 65536 octets"},
		"no policy":    {[]string{record}, serve("text/plain", "hello", 200), "no colon"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			web := httptest.NewUnstartedServer(test.serve)
			web.TLS = &tls.Config{Certificates: []tls.Certificate{*a.issue(t, "mta-sts.example.com")}}
			web.StartTLS()
			defer web.Close()
			transport := &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: a.roots()},
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					require.Equal(t, "mta-sts.example.com:443", address)
					return new(net.Dialer).DialContext(ctx, network, web.Listener.Addr().String())
				},
			}
			p := fetchPolicy(t.Context(), (&zone{records: test.records}).serve(t), "example.com", transport)
			if test.problem == "" {
				require.Empty(t, p.Problems)
				require.Equal(t, "20260101", p.ID)
				require.True(t, p.compare("mx.example.com", nil).Verified)
				return
			}
			require.Len(t, p.Problems, 1)
			require.Contains(t, p.Problems[0], test.problem)
			require.False(t, p.compare("mx.example.com", nil).Verified)
		})
	}
}
