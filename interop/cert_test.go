package interop

import (
	"crypto/tls"
	"testing"

	"github.com/l4starttls/caddy-l4-starttls/internal/testkit"
)

// selfSigned makes a certificate for a backend that does TLS itself. No client of
// the plugin may ever get to see it. It returns the paths of certificate and key.
func selfSigned(t testing.TB, host string) (cert, key string) {
	t.Helper()
	return writeCertificate(t, testkit.SelfSigned(t, host))
}

// authority is a CA for backends that demand TLS, and for their clients.
type authority struct {
	cert *tls.Certificate
	file string // its own certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	ca := &authority{cert: testkit.Issue(t, testkit.AuthorityTemplate("Test CA"), testkit.NewKey(t), nil)}
	ca.file, _ = writeCertificate(t, ca.cert)
	return ca
}

// issue makes a certificate for a server, or for a client that goes by the first of
// the names. It returns the paths of certificate and key.
func (ca *authority) issue(t testing.TB, names ...string) (cert, key string) {
	t.Helper()
	return writeCertificate(t, testkit.Issue(t, testkit.Template(names...), testkit.NewKey(t), ca.cert))
}

func writeCertificate(t testing.TB, c *tls.Certificate) (cert, key string) {
	t.Helper()
	dir := serverDir(t)
	certPEM, keyPEM := testkit.PEM(t, c)
	return writeFile(t, dir, "cert.pem", string(certPEM)), writeFile(t, dir, "key.pem", string(keyPEM))
}
