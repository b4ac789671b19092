package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/require"
)

// A client that does not trust the certificate is no riddle in the log.
func TestDefaultLogOfDistrust(t *testing.T) {
	s := newSite(t, "imap")
	c := serve(t, s)
	before, _ := sample(t, "caddy_layer4_starttls_negotiations_total", "protocol", "imap", "outcome", "distrusted")
	for _, version := range []string{"1.2", "1.3"} {
		p, err := s.dial(&tls.Config{RootCAs: x509.NewCertPool()})
		require.NoError(t, err)
		require.NoError(t, p.run(append(s.talk.ask(), step{StartTLS: true, SNI: "mail.example.com", MaxVersion: version, ExpectFail: true}, step{Close: true})))
	}
	entry := c.awaitEntries(2, withMessage("client does not trust the certificate"))[0]
	require.Equal(t, "info", entry["level"])
	require.Contains(t, entry["error"], "certificate")
	requireSample(t, before, 2, "caddy_layer4_starttls_negotiations_total", "protocol", "imap", "outcome", "distrusted")
}
