package testkit

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// NewKey makes a key for a certificate.
func NewKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// Template is a certificate for names, from an hour ago to in an hour.
func Template(names ...string) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
			continue
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	return template
}

// AuthorityTemplate is the certificate of a CA, with the same lifetime.
func AuthorityTemplate(name string) *x509.Certificate {
	template := Template(name)
	template.DNSNames, template.ExtKeyUsage = nil, nil
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	return template
}

// Issue makes a certificate with its chain, but for the root. With nobody to sign it, it
// signs itself.
func Issue(t testing.TB, template *x509.Certificate, key crypto.Signer, by *tls.Certificate) *tls.Certificate {
	t.Helper()
	parent, signer, chain := template, crypto.PrivateKey(key), [][]byte(nil)
	if by != nil {
		parent, signer = by.Leaf, by.PrivateKey
		if !bytes.Equal(by.Leaf.RawIssuer, by.Leaf.RawSubject) {
			chain = by.Certificate
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: append([][]byte{der}, chain...), PrivateKey: key, Leaf: leaf}
}

// SelfSigned makes a certificate for names that signs itself, and is the root that those
// trust who trust it.
func SelfSigned(t testing.TB, names ...string) *tls.Certificate {
	t.Helper()
	template := Template(names...)
	template.IsCA, template.BasicConstraintsValid = true, true
	return Issue(t, template, NewKey(t), nil)
}

// Trust returns a pool of these certificates alone.
func Trust(certs ...*tls.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range certs {
		pool.AddCert(cert.Leaf)
	}
	return pool
}

// PEM encodes a certificate and its key.
func PEM(t testing.TB, cert *tls.Certificate) (certificate, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	require.NoError(t, err)
	for _, c := range cert.Certificate {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return certificate, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
