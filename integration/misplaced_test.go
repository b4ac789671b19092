package integration_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a route leads to may depend on the client, so that two starttls in routes of their
// own are no error at start. A connection that comes to both is refused.
func TestUpgradedConnectionIsNotUpgradedAgain(t *testing.T) {
	s := newSite(t, "imap")
	c := startCaddy(t, fmt.Sprintf(`%s {
	@here remote_ip 127.0.0.1
	route @here {
		starttls imap mail.example.com
	}
	@there remote_ip 127.0.0.1
	route @there {
		starttls imap mail.example.com
		proxy %s
	}
}`, s.address, s.backend.address()))
	c.awaitCertificates("mail.example.com")
	for range 2 {
		p, err := s.dial(c.trust())
		require.NoError(t, err)
		require.NoError(t, p.run([]step{{Expect: `^\* OK .*\r\n$`}, {SendText: "a STARTTLS\r\n"}, {Expect: `^a OK .*\r\n$`}, {StartTLS: true}}))
		_, err = io.ReadAll(p.tls)
		require.Error(t, err, "nothing is said, and the end is not announced")
		require.NoError(t, p.raw.Close())
	}
	warnings := c.logged("refused connection: it has come through starttls before; remove one of them, and give the other all hostnames")
	require.Len(t, warnings, 1)
	require.Equal(t, "warn", warnings[0].Level)
	require.Equal(t, "imap", warnings[0].Protocol)
	require.Zero(t, s.backend.dialled())
}
