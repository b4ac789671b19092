package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// serverName is the one that the certificate is for.
const serverName = "mail.example.com"

// Secrets are one certificate, ECDSA P-256, for all proxies, and TLS 1.3 with X25519.
type secrets struct {
	server *tls.Config
	client *tls.Config
	cert   []byte // PEM
	key    []byte // PEM
	pool   *x509.CertPool
}

func newSecrets() (*secrets, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	s := &secrets{
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pool: x509.NewCertPool(),
	}
	s.pool.AppendCertsFromPEM(s.cert)
	pair, err := tls.X509KeyPair(s.cert, s.key)
	s.server = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	s.client = s.newClient()
	return s, err
}

// newClient is a configuration of a client.
func (s *secrets) newClient() *tls.Config {
	return &tls.Config{
		RootCAs: s.pool, ServerName: serverName, MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.X25519},
	}
}

// write leaves the certificate and the key in files, and in one that has both.
func (s *secrets) write(dir string) error {
	for name, content := range map[string][]byte{"cert.pem": s.cert, "key.pem": s.key, "both.pem": bytes.Join([][]byte{s.cert, s.key}, nil)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil { //nolint:gosec // servers change their user
			return err
		}
	}
	return nil
}
