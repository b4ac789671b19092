package probe

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// record makes a record that a certificate satisfies.
func record(usage, selector, matching uint8, cert *x509.Certificate) TLSA {
	r := TLSA{Usage: usage, Selector: selector, MatchingType: matching}
	r.Data = hex.EncodeToString(r.selected(cert))
	return r
}

func chainOf(t *testing.T, cert *tls.Certificate) (chain []*x509.Certificate) {
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		chain = append(chain, c)
	}
	return chain
}

// Every kind of record matches what it is made for, and no other certificate; those of usage
// 0 and 1 only what verifies for a public CA as well.
func TestTLSAMatches(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	chain := chainOf(t, a.issue(t, "mx.example.com"))
	v := &verifier{chain: chain, roots: a.roots(), name: "mx.example.com", now: time.Now()}
	leaf, intermediate := chain[0], chain[1]
	untrusted := errors.New("not trusted")
	for usage := range uint8(4) {
		for selector := range uint8(2) {
			for matching := range uint8(3) {
				good := leaf
				if usage == usagePKIXTA || usage == usageDANETA {
					good = intermediate
				}
				r := record(usage, selector, matching, good)
				require.NoError(t, r.compare(v, nil), r.String())
				if usage <= usagePKIXEE {
					require.ErrorIs(t, r.compare(v, untrusted), untrusted, r.String())
				} else {
					require.NoError(t, r.compare(v, untrusted), r.String())
				}
				r = record(usage, selector, matching, other.intermediate.Leaf)
				require.Error(t, r.compare(v, nil), r.String())
			}
		}
	}
	for _, r := range []TLSA{
		{Usage: 4, MatchingType: 1, Data: "00"}, {Usage: 3, Selector: 2, MatchingType: 1, Data: "00"},
		{Usage: 3, Selector: 1, MatchingType: 3, Data: "00"}, {Usage: 3, Selector: 1, MatchingType: 1, Data: "xx"},
	} {
		require.ErrorContains(t, r.compare(v, nil), "not one that is understood", r.String())
	}
	anchor := record(usageDANETA, selectorCert, matchFull, a.root.Leaf)
	require.NoError(t, anchor.compare(v, untrusted), "the anchor need not be sent")
	anchor = record(usageDANETA, selectorCert, matchSHA256, a.root.Leaf)
	require.ErrorIs(t, anchor.compare(v, untrusted), errUnequal, "but then it cannot be known by its hash")
}

// The names and the lifetime of a certificate matter under a trust anchor, and not if the
// record is its own (RFC 7671 section 5.1).
func TestTLSAOfBadCertificates(t *testing.T) {
	a := newAuthority(t)
	old := testkit.Template("mx.example.com")
	old.NotBefore, old.NotAfter = time.Now().Add(-3*time.Hour), time.Now().Add(-time.Hour)
	for name, cert := range map[string]*tls.Certificate{
		"wrong name": a.issue(t, "other.example.com"),
		"expired":    testkit.Issue(t, old, testkit.NewKey(t), a.intermediate),
	} {
		t.Run(name, func(t *testing.T) {
			v := &verifier{chain: chainOf(t, cert), roots: a.roots(), name: "mx.example.com", now: time.Now()}
			own, anchor := record(3, 1, 1, v.chain[0]), record(2, 1, 1, v.chain[1])
			require.NoError(t, own.compare(v, errors.New("bad")))
			require.Error(t, anchor.compare(v, errors.New("bad")))
			require.NotErrorIs(t, anchor.compare(v, errors.New("bad")), errUnequal)
		})
	}
}

// What is advised to be published is looked up, and verifies a certificate that no public CA
// has signed; but only if DNSSEC validates it.
func TestDANE(t *testing.T) {
	a := newAuthority(t)
	s := listen(t, "127.0.0.1:0", mail(&tls.Config{Certificates: []tls.Certificate{*a.issue(t, "mx.example.com")}}, false))
	z := &zone{secure: true, records: []string{"mx.example.com. A 127.0.0.1"}}
	target := s.target("mx.example.com", newAuthority(t), z.serve(t)) // who trusts somebody else
	r := Run(t.Context(), target)
	require.Equal(t, Unverified, r.Outcome)
	require.Nil(t, r.DANE)
	require.Equal(t, fmt.Sprintf("_%s._tcp.mx.example.com. IN TLSA 3 1 1 %s", target.Port, r.Certificates[0].KeySHA256), r.TLSARecord)

	target.TLSA = true
	r = Run(t.Context(), target)
	require.Equal(t, Unverified, r.Outcome)
	require.Equal(t, []string{"no TLSA record"}, r.DANE.Problems)

	z.publish(strings.ReplaceAll(r.TLSARecord, " 3 1 1 ", " 3 0 1 "), true)
	r = Run(t.Context(), target)
	require.Equal(t, Unverified, r.Outcome)
	require.Equal(t, []string{"no TLSA record matches"}, r.DANE.Problems)

	z.publish(r.TLSARecord, true)
	r = Run(t.Context(), target)
	require.Equal(t, Verified, r.Outcome, r.DANE.Problems)
	require.False(t, r.Verification.Verified, "which is still reported")
	require.True(t, r.DANE.Verified)
	require.Len(t, r.DANE.Records, 2)
	require.False(t, r.DANE.Records[0].Matches)
	require.True(t, r.DANE.Records[1].Matches)
	require.Regexp(t, `(?m)^TLSA published:   3 1 1 [0-9a-f]{64}, matches$`, textOf(t, r))
	require.Regexp(t, `(?m)^DANE: +ok, 127\.0\.0\.1:\d+ says that DNSSEC validates the records$`, textOf(t, r))

	z.publish("mx.example.com. A 127.0.0.1", false)
	r = Run(t.Context(), target)
	require.Equal(t, Unverified, r.Outcome)
	require.True(t, r.DANE.Records[1].Matches)
	require.Len(t, r.DANE.Problems, 1)
	require.Contains(t, r.DANE.Problems[0], "does not say that DNSSEC validates")

	target.Host, target.ServerName = "127.0.0.1", "127.0.0.1"
	r = Run(t.Context(), target)
	require.Equal(t, Unverified, r.Outcome)
	require.Empty(t, r.TLSARecord)
	require.Contains(t, r.DANE.Problems[0], "an address has no TLSA records")
}

// The records of an alias are below the name that it is one of, if DNSSEC validates that, or else below its own.
func TestDANEOfAnAlias(t *testing.T) {
	const aliases = "mx.example.com. CNAME mx.example.net.|mx.example.net. CNAME host.example.org."
	alias := strings.Split(aliases, "|")
	at := func(host string) string { return "_25._tcp." + host + ". IN TLSA 3 1 1 " + strings.Repeat("ab", 32) }
	for name, c := range map[string]struct {
		records []string
		secure  bool
		want    string
	}{
		"no alias":             {[]string{at("mx.example.com")}, true, "mx.example.com."},
		"below the last name":  {append(alias, at("host.example.org"), at("mx.example.com")), true, "host.example.org."},
		"below its own":        {append(alias, at("mx.example.com")), true, "mx.example.com."},
		"not in between":       {append(alias, at("mx.example.net")), true, ""},
		"not validated":        {append(alias, at("host.example.org"), at("mx.example.com")), false, "mx.example.com."},
		"an alias of itself":   {[]string{"mx.example.com. CNAME mx.example.com.", at("mx.example.com")}, true, "mx.example.com."},
		"nothing at all there": {alias, true, ""},
	} {
		z := &zone{secure: c.secure, records: c.records}
		d := z.serve(t).findTLSA(t.Context(), "mx.example.com", 25)
		require.Equal(t, c.want != "", len(d.Records) == 1, name)
		if c.want != "" {
			require.Equal(t, "_25._tcp."+c.want, d.Name, name)
		}
		require.LessOrEqual(t, len(z.questions()), maxAliases+2, name)
	}
}
