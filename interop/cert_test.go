package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// selfSigned makes a certificate for a backend that does TLS itself. No client of
// the plugin may ever get to see it. It returns the paths of certificate and key.
func selfSigned(t testing.TB, host string) (cert, key string) {
	t.Helper()
	private, template := newKey(t), certificateFor(host)
	return writeCertificate(t, template, template, private, private)
}

// authority is a CA for backends that demand TLS, and for their clients.
type authority struct {
	template *x509.Certificate
	private  *ecdsa.PrivateKey
	file     string // its own certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	ca := &authority{template: certificateFor("Test CA"), private: newKey(t)}
	ca.template.DNSNames = nil
	ca.template.IsCA, ca.template.BasicConstraintsValid = true, true
	ca.template.KeyUsage = x509.KeyUsageCertSign
	ca.file, _ = writeCertificate(t, ca.template, ca.template, ca.private, ca.private)
	return ca
}

// issue makes a certificate for a server, or for a client that goes by the first of
// the names. It returns the paths of certificate and key.
func (ca *authority) issue(t testing.TB, names ...string) (cert, key string) {
	t.Helper()
	private := newKey(t)
	return writeCertificate(t, certificateFor(names...), ca.template, private, ca.private)
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return private
}

func certificateFor(names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: names[0]},
		DNSNames:     names,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
}

func writeCertificate(t testing.TB, template, parent *x509.Certificate, private, signer *ecdsa.PrivateKey) (cert, key string) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, private.Public(), signer)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	dir := serverDir(t)
	return writePEM(t, dir, "cert.pem", "CERTIFICATE", der), writePEM(t, dir, "key.pem", "PRIVATE KEY", pkcs8)
}

func writePEM(t testing.TB, dir, name, kind string, der []byte) string {
	t.Helper()
	return writeFile(t, dir, name, string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
}
