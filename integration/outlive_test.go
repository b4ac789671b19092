package integration_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A negotiation may outlive all configurations with certificates. It is refused the upgrade,
// and the process goes on.
func TestNegotiationsOutliveTheCertificates(t *testing.T) {
	s := newSite(t, "pop3")
	c := serve(t, s)
	p, err := s.dial(c.trust())
	require.NoError(t, err)
	require.NoError(t, p.run(s.talk.greet))
	c.load("{\nadmin off\npersist_config off\n" + c.common(nil) + "}\n")
	require.NoError(t, p.run([]step{{SendText: "STLS\r\n"}, {Expect: `^-ERR `}, {SendText: "QUIT\r\n"}, {Expect: `^\+OK`}, {ExpectClose: true}}))
	require.NoError(t, p.raw.Close())
}
