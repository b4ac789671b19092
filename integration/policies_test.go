package integration_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A client that no connection policy is for is told which alert is for that, and the log says
// so, in few words and none of them as the client has put them. Where policies do not go by
// names, the name is not what is wrong, and a policy may say that a client be dropped.
func TestNoConnectionPolicy(t *testing.T) {
	named := "connection_policy {\n match {\n sni mail.example.com\n}\n}"
	for name, test := range map[string]struct{ lines, sni, alert, outcome, noted string }{
		"unknown name": {named, "\x1b.example.com", "unrecognized name", "no_policy", `server name "\\x1b.example.com"`},
		"no name":      {named, "", "internal error", "no_policy", `server name ""`},
		"address": {"connection_policy {\n match {\n remote_ip 192.0.2.1\n}\n}", "mail.example.com", "internal error", "no_policy",
			`server name "mail.example.com"`},
		"dropped": {"connection_policy {\n match {\n sni other.example.com\n}\n drop\n}\n" + named, "other.example.com", "internal error", "handshake", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, proto := range []string{"smtp", "line"} {
				s := newSite(t, proto)
				s.lines = append(s.lines, test.lines)
				c := serve(t, s)
				before, _ := sample(t, "caddy_layer4_starttls_negotiations_total", "protocol", proto, "outcome", test.outcome)
				for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
					err := s.shakeHands(t, &tls.Config{ServerName: test.sni, MinVersion: version, MaxVersion: version, InsecureSkipVerify: true})
					require.EqualError(t, err, "remote error: tls: "+test.alert, "%s %x", proto, version)
				}
				requireSample(t, before, 2, "caddy_layer4_starttls_negotiations_total", "protocol", proto, "outcome", test.outcome)
				if test.noted == "" {
					require.Empty(t, c.entries(withMessage("no connection policy for a client")))
					continue
				}
				entry := c.awaitEntries(2, withMessage("no connection policy for a client"))[0]
				require.Equal(t, "info", entry["level"])
				require.Contains(t, entry["error"], "no connection policy is for the client: "+test.noted)
				require.NotContains(t, entry["error"], "CipherSuites", "that is all of the ClientHello")
			}
			s := newSite(t, "smtp")
			s.lines = append(s.lines, named)
			serve(t, s)
			_ = s.requireUpgraded(t, &tls.Config{InsecureSkipVerify: true}, step{SNI: "mail.example.com"})
		})
	}
}

// shakeHands asks for the upgrade, as far as the handshake.
func (s *site) shakeHands(t *testing.T, config *tls.Config) error {
	conn, err := net.DialTimeout("tcp", s.address, patience)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	p := newPeer(conn, config)
	require.NoError(t, p.run(s.talk.ask()))
	return tls.Client(p.raw, config).Handshake()
}
