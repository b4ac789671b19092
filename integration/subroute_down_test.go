package integration_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inSubroute and inLaterRoutes are handlers behind starttls imap that reach a backend.
const (
	inSubroute = `subroute {
		@a upgraded sni mail.example.com
		route @a {
			proxy %s
		}
	}`
	inLaterRoutes = `}
	@a upgraded sni mail.example.com
	route @a {
		proxy %s`
)

// upgradedWithoutBackend is a client over TLS whose backend is down.
func upgradedWithoutBackend(t *testing.T, behind string) net.Conn {
	t.Helper()
	s := newSite(t, "imap")
	c := startCaddy(t, fmt.Sprintf("%s {\nroute {\nstarttls imap mail.example.com\n%s\n}\n}", s.address, fmt.Sprintf(behind, freeAddress(t))))
	c.awaitCertificates("mail.example.com")
	p, err := s.dial(c.trust())
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.raw.Close() })
	require.NoError(t, p.run(append(s.talk.ask(), step{StartTLS: true, SNI: "mail.example.com"})))
	require.NoError(t, p.raw.SetReadDeadline(time.Now().Add(patience)))
	return p.tls
}

// Behind a subroute in the route of starttls, a client whose backend is down is told so in
// the words of its protocol, and its TLS ends properly.
func TestSubrouteTellsOfABackendThatIsDown(t *testing.T) {
	requireRest(t, upgradedWithoutBackend(t, inSubroute), "* BYE [UNAVAILABLE] Backend not available\r\n")
}

// In later routes it is too late for that, of which there is a warning at start: see
// docs/mistakes.md.
func TestLaterRoutesTellNothingOfABackendThatIsDown(t *testing.T) {
	client := upgradedWithoutBackend(t, inLaterRoutes)
	n, err := client.Read(make([]byte, 1))
	require.Zero(t, n)
	require.ErrorIs(t, err, errTruncated)
}
