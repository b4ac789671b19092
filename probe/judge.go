package probe

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// judge reports on a connection that was up: on its certificates, and on what else they are to
// be compared with.
func (p *prober) judge(ctx context.Context, chain []*x509.Certificate, remote net.Addr, r *Report) {
	now := time.Now()
	for _, cert := range chain {
		r.Certificates = append(r.Certificates, newCertificate(cert, now, p.PEM))
	}
	v := &verifier{chain: chain, roots: p.Roots, name: p.ServerName, now: now}
	r.Verification = v.verification()
	r.Outcome = Unverified
	verified := r.Verification.Verified
	host, port := p.tlsaHost(remote)
	if host != "" && len(chain) > 0 {
		r.TLSARecord = tlsaToPublish(tlsaName(host, port), chain[0])
	}
	if p.TLSA && len(chain) > 0 {
		r.DANE = p.dane(ctx, host, port, v)
		verified = r.DANE.Verified
	}
	if p.Policy != nil {
		r.MTASTS = p.Policy.compare(p.Host, r.Verification.Problems)
		verified = verified && r.MTASTS.Verified
	}
	if verified {
		r.Outcome = Verified
	}
	if p.Expiry > 0 {
		r.Warning = warning(chain, now, p.Expiry)
	}
}

// verification looks for a chain and at the name apart, so that a server with two problems
// hears of both.
func (v *verifier) verification() *Verification {
	if len(v.chain) == 0 { // TLS does not let that happen
		return &Verification{Problems: []string{"no certificate"}}
	}
	result := new(Verification)
	for _, err := range []error{v.verify(v.roots), v.chain[0].VerifyHostname(v.name)} {
		if err != nil {
			result.Problems = append(result.Problems, err.Error())
		}
	}
	result.Verified = len(result.Problems) == 0
	return result
}

// tlsaHost is the name and the port below which records of the server belong: the name by which it is connected to,
// or else the one that it is asked for; none if both are addresses.
func (p *prober) tlsaHost(remote net.Addr) (host string, port uint16) {
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return "", 0
	}
	for _, name := range []string{p.Host, p.ServerName} {
		if _, err := netip.ParseAddr(name); err != nil {
			return name, uint16(tcp.Port) //nolint:gosec // a port
		}
	}
	return "", 0
}

// dane compares the chain with what is published. Usages 0 and 1 have it verify for a public
// CA, too.
func (p *prober) dane(ctx context.Context, host string, port uint16, v *verifier) *DANE {
	if host == "" {
		return &DANE{Records: []TLSA{}, Problems: []string{"an address has no TLSA records: name the host"}}
	}
	d := p.Resolver.findTLSA(ctx, host, port)
	d.compare(v, v.verifyNamed(v.roots))
	return d
}

// warning names the certificate that expires first, if that is soon.
func warning(chain []*x509.Certificate, now time.Time, soon time.Duration) string {
	var first *x509.Certificate
	for _, cert := range chain {
		if first == nil || cert.NotAfter.Before(first.NotAfter) {
			first = cert
		}
	}
	if first == nil || first.NotAfter.Sub(now) >= soon {
		return ""
	}
	what := "the certificate"
	if first != chain[0] {
		what = "the certificate of " + first.Subject.String()
	}
	return fmt.Sprintf("%s: %s", what, lifetime(first.NotAfter.Sub(now)))
}

// lifetime is in hours where days would be none.
func lifetime(left time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case left <= -2*day:
		return fmt.Sprintf("expired %d days ago", -left/day)
	case left <= 0:
		return fmt.Sprintf("expired %d hours ago", -left/time.Hour)
	case left < 2*day:
		return fmt.Sprintf("%d hours left", left/time.Hour)
	}
	return fmt.Sprintf("%d days left", left/day)
}
