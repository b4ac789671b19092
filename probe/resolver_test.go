package probe

import (
	"testing"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

func TestLookupMX(t *testing.T) {
	z := &zone{secure: true, records: []string{
		"example.com. MX 20 mx2.example.com.", "example.com. MX 10 MX1.example.com.", "null.example.com. MX 0 .",
	}}
	r := z.serve(t)
	d := LookupMX(t.Context(), r, "example.com")
	require.Empty(t, d.Error)
	require.Equal(t, []MX{{10, "MX1.example.com"}, {20, "mx2.example.com"}}, d.MX)
	require.True(t, d.Secure)
	require.Equal(t, r.Server, d.Resolver)

	d = LookupMX(t.Context(), r, "null.example.com")
	require.Empty(t, d.MX)
	require.Contains(t, d.Error, "takes no mail")

	d = LookupMX(t.Context(), r, "host.example.com")
	require.Empty(t, d.Error)
	require.Equal(t, []MX{{0, "host.example.com"}}, d.MX, "its own mail server")
}

func TestLookupGoesByTCP(t *testing.T) {
	z := &zone{truncate: true, records: []string{"example.com. MX 10 mx.example.com."}}
	d := LookupMX(t.Context(), z.serve(t), "example.com")
	require.Empty(t, d.Error)
	require.Equal(t, []MX{{10, "mx.example.com"}}, d.MX)
	require.False(t, d.Secure)
	require.Equal(t, []string{"udp example.com. MX", "tcp example.com. MX"}, z.questions())
}

func TestLookupFails(t *testing.T) {
	for name, test := range map[string]struct {
		resolver *Resolver
		want     string
	}{
		"server fails":     {(&zone{rcode: dns.RcodeServerFailure}).serve(t), "SERVFAIL"},
		"another question": {(&zone{lie: true}).serve(t), "the reply is to another question"},
		"nobody there":     {&Resolver{Server: testkit.FreeAddress(t)}, "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			d := LookupMX(t.Context(), test.resolver, "example.com")
			require.Empty(t, d.MX)
			require.Contains(t, d.Error, test.want)
			require.Contains(t, d.Error, "for MX of example.com")
		})
	}
}
