package integration_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Behind a subroute in the route of starttls, a client whose backend is down is told so in
// the words of its protocol, and its TLS ends properly.
func TestSubrouteTellsOfABackendThatIsDown(t *testing.T) {
	s := newSite(t, "imap")
	c := startCaddy(t, fmt.Sprintf(`%s {
		route {
			starttls imap mail.example.com
			subroute {
				@a upgraded sni mail.example.com
				route @a {
					proxy %s
				}
			}
		}
	}`, s.address, freeAddress(t)))
	c.awaitCertificates("mail.example.com")
	p, err := s.dial(c.trust())
	require.NoError(t, err)
	defer func() { _ = p.raw.Close() }()
	require.NoError(t, p.run(append(s.talk.ask(), step{StartTLS: true, SNI: "mail.example.com"})))
	require.NoError(t, p.raw.SetReadDeadline(time.Now().Add(patience)))
	requireRest(t, p.tls, "* BYE [UNAVAILABLE] Backend not available\r\n")
}
