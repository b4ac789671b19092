package probe

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math"
	"slices"
	"time"
)

// A Certificate is one that the server sent.
type Certificate struct {
	// Subject is its name, empty where the names below are all that it has.
	Subject string `json:"subject"`
	// Names lists the domain names, addresses and so on that it is for.
	Names []string `json:"names,omitempty"`
	// Issuer is who signed it.
	Issuer string `json:"issuer"`
	// NotBefore is when it begins to be valid.
	NotBefore time.Time `json:"not_before"`
	// NotAfter is when it ceases to be.
	NotAfter time.Time `json:"not_after"`
	// DaysLeft is how long it has until then, rounded down. Negative once it has expired.
	DaysLeft int `json:"days_left"`
	// HoursLeft is the same in hours.
	HoursLeft int `json:"hours_left"`
	// SHA256 is the fingerprint of the certificate, in hexadecimal.
	SHA256 string `json:"sha256"`
	// KeySHA256 is that of its public key (SubjectPublicKeyInfo).
	KeySHA256 string `json:"key_sha256"`
	// PEM is the certificate itself, if it was asked for.
	PEM string `json:"pem,omitempty"`

	left time.Duration
}

func newCertificate(cert *x509.Certificate, now time.Time, whole bool) *Certificate {
	left := cert.NotAfter.Sub(now)
	sum, key := sha256.Sum256(cert.Raw), sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	c := &Certificate{
		Subject:   cert.Subject.String(),
		Issuer:    cert.Issuer.String(),
		NotBefore: cert.NotBefore.UTC(),
		NotAfter:  cert.NotAfter.UTC(),
		DaysLeft:  int(math.Floor(left.Hours() / 24)),
		HoursLeft: int(math.Floor(left.Hours())),
		Names:     slices.Concat(cert.DNSNames, cert.EmailAddresses),
		SHA256:    hex.EncodeToString(sum[:]),
		KeySHA256: hex.EncodeToString(key[:]),
		left:      left,
	}
	for _, ip := range cert.IPAddresses {
		c.Names = append(c.Names, ip.String())
	}
	for _, uri := range cert.URIs {
		c.Names = append(c.Names, uri.String())
	}
	if whole {
		c.PEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	return c
}
