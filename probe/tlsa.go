package probe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Certificate usages, selectors and matching types of TLSA records (RFC 6698 section 2.1, with
// the names of RFC 7218).
const (
	usagePKIXTA, usagePKIXEE, usageDANETA, usageDANEEE = 0, 1, 2, 3

	selectorCert, selectorSPKI = 0, 1

	matchFull, matchSHA256, matchSHA512 = 0, 1, 2
)

// A DANE is what came of comparing the server's certificates with published TLSA records (RFC
// 6698, RFC 7671).
type DANE struct {
	// Name is where the records are looked up.
	Name string `json:"name"`
	// Resolver is the DNS server that was asked.
	Resolver string `json:"resolver,omitempty"`
	// Secure is true if the resolver says that DNSSEC validates the records. Nothing is
	// validated here, so this is as good as the resolver and the way to it.
	Secure bool `json:"dnssec"`
	// Records are those that were found.
	Records []TLSA `json:"records"`
	// Verified is true if a record that DNSSEC validates matches.
	Verified bool `json:"verified"`
	// Problems say why it is not.
	Problems []string `json:"problems,omitempty"`
}

// A TLSA is one record.
type TLSA struct {
	// Usage is 0 (PKIX-TA), 1 (PKIX-EE), 2 (DANE-TA) or 3 (DANE-EE).
	Usage uint8 `json:"usage"`
	// Selector is 0 for the certificate, 1 for its key.
	Selector uint8 `json:"selector"`
	// MatchingType is 0 for the whole, 1 for its SHA-256, 2 for its SHA-512.
	MatchingType uint8 `json:"matching_type"`
	// Data is what a certificate is compared with, in hexadecimal.
	Data string `json:"data"`
	// Matches is true if the server's certificates are as the record has it.
	Matches bool `json:"matches"`
	// Problem says why they are not, if it is not just that none is equal.
	Problem string `json:"problem,omitempty"`
}

// String is the record's data, as in a zone.
func (t *TLSA) String() string {
	return fmt.Sprintf("%d %d %d %s", t.Usage, t.Selector, t.MatchingType, t.Data)
}

// findTLSA finds the records for a server. If its name is an alias, they belong below the name that it is an alias of;
// below its own are those that count if there are none (RFC 7671 section 7).
func (r *Resolver) findTLSA(ctx context.Context, host string, port uint16) *DANE {
	if target := r.unaliased(ctx, host); target != host {
		if d := r.lookupTLSA(ctx, tlsaName(target, port)); len(d.Records) > 0 {
			return d
		}
	}
	return r.lookupTLSA(ctx, tlsaName(host, port))
}

// lookupTLSA finds the records at a name.
func (r *Resolver) lookupTLSA(ctx context.Context, name string) *DANE {
	d := &DANE{Name: name, Records: []TLSA{}}
	a, err := r.lookup(ctx, name, dns.TypeTLSA)
	if err != nil {
		d.Problems = []string{err.Error()}
		return d
	}
	d.Secure, d.Resolver = a.secure, a.server
	for _, record := range a.records {
		if t, ok := record.(*dns.TLSA); ok {
			d.Records = append(d.Records, TLSA{
				Usage: t.Usage, Selector: t.Selector, MatchingType: t.MatchingType, Data: strings.ToLower(t.Certificate),
			})
		}
	}
	return d
}

// compare looks for a record that the chain satisfies. Whether it verifies for a public CA
// matters for the usages 0 and 1 only.
func (d *DANE) compare(v *verifier, pkix error) {
	matched := false
	for i := range d.Records {
		t := &d.Records[i]
		err := t.compare(v, pkix)
		t.Matches = err == nil
		if err != nil && !errors.Is(err, errUnequal) {
			t.Problem = err.Error()
		}
		matched = matched || t.Matches
	}
	switch {
	case len(d.Problems) > 0:
	case len(d.Records) == 0:
		d.Problems = append(d.Problems, "no TLSA record")
	case !matched:
		d.Problems = append(d.Problems, "no TLSA record matches")
	}
	if len(d.Records) > 0 && !d.Secure {
		d.Problems = append(d.Problems, fmt.Sprintf("%s does not say that DNSSEC validates the TLSA records, so no client goes by them", d.Resolver))
	}
	d.Verified = len(d.Problems) == 0
}

var errUnequal = errors.New("no certificate is equal")

// compare finds out why a chain does not satisfy a record, or returns nil.
func (t *TLSA) compare(v *verifier, pkix error) error {
	want, err := hex.DecodeString(t.Data)
	if err != nil || t.Usage > usageDANEEE || t.Selector > selectorSPKI || t.MatchingType > matchSHA512 {
		return errors.New("not one that is understood (RFC 6698 section 2.1)")
	}
	candidates := v.chain[:1]
	if t.Usage == usagePKIXTA || t.Usage == usageDANETA {
		candidates = append(v.chain[1:len(v.chain):len(v.chain)], v.chain[0])
	}
	for _, cert := range candidates {
		if !bytes.Equal(want, t.selected(cert)) {
			continue
		}
		switch t.Usage {
		case usageDANEEE:
			return nil // names and lifetimes are the record's business (RFC 7671 section 5.1)
		case usageDANETA:
			return v.verifyUnder(cert)
		}
		return pkix
	}
	if t.Usage == usageDANETA && t.Selector == selectorCert && t.MatchingType == matchFull {
		if anchor, err := x509.ParseCertificate(want); err == nil {
			return v.verifyUnder(anchor) // it need not be sent (RFC 7671 section 5.2.2)
		}
	}
	return errUnequal
}

// selected is what a record is about, of a certificate.
func (t *TLSA) selected(cert *x509.Certificate) []byte {
	content := cert.Raw
	if t.Selector == selectorSPKI {
		content = cert.RawSubjectPublicKeyInfo
	}
	switch t.MatchingType {
	case matchSHA256:
		sum := sha256.Sum256(content)
		return sum[:]
	case matchSHA512:
		sum := sha512.Sum512(content)
		return sum[:]
	}
	return content
}

// tlsaToPublish is the record that RFC 7671 section 5.1 and RFC 7672 section 3.1.1 advise: it
// stays the same for as long as the key does.
func tlsaToPublish(name string, leaf *x509.Certificate) string {
	t := TLSA{Usage: usageDANEEE, Selector: selectorSPKI, MatchingType: matchSHA256}
	t.Data = hex.EncodeToString(t.selected(leaf))
	return name + " IN TLSA " + t.String()
}

// A verifier verifies one chain.
type verifier struct {
	chain []*x509.Certificate
	roots *x509.CertPool
	name  string
	now   time.Time
}

// verify looks for a chain to a root, and does not look at the name.
func (v *verifier) verify(roots *x509.CertPool) error {
	intermediates := x509.NewCertPool()
	for _, cert := range v.chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := v.chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: v.now})
	return err
}

// verifyUnder verifies chain and name with one trust anchor (RFC 7671 section 5.2).
func (v *verifier) verifyUnder(anchor *x509.Certificate) error {
	roots := x509.NewCertPool()
	roots.AddCert(anchor)
	return v.verifyNamed(roots)
}

// verifyNamed verifies chain and name.
func (v *verifier) verifyNamed(roots *x509.CertPool) error {
	if err := v.verify(roots); err != nil {
		return err
	}
	return v.chain[0].VerifyHostname(v.name)
}
