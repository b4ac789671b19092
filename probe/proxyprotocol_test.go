package probe

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A server behind a load balancer is probed as the load balancer connects to it, on every
// connection.
func TestProxyProtocol(t *testing.T) {
	a := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{*a.issue(t, "localhost")}}
	for _, implicit := range []bool{false, true} {
		serve, headers := mail(config, implicit), make(chan *proxyproto.Header, 16)
		s := listen(t, "127.0.0.1:0", func(s *server, raw net.Conn) {
			reader := bufio.NewReader(raw)
			if header, err := proxyproto.Read(reader); err == nil {
				headers <- header
				serve(s, &bufferedConn{raw, reader})
			}
		})
		for version := byte(1); version <= 2; version++ {
			target := s.target("localhost", a, nil)
			target.ImplicitTLS, target.ProxyProtocol, target.Versions = implicit, version, version == 2
			r := Run(t.Context(), target)
			require.Equal(t, Verified, r.Outcome, r.Error)
			header := <-headers
			require.Equal(t, version, header.Version)
			require.Equal(t, s.address.String(), header.DestinationAddr.String())
			require.Contains(t, header.SourceAddr.String(), "127.0.0.1:")
			if version == 2 {
				require.Len(t, headers, len(probed))
				require.Equal(t, "yes", r.Versions[3].Accepted)
			}
		}
	}
}

// A bufferedConn is read through a buffer.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// Whoever ends the connection at once, or waits for a header, does not say what is amiss.
func TestTurnedAway(t *testing.T) {
	a := newAuthority(t)
	away := listen(t, "127.0.0.1:0", func(_ *server, raw net.Conn) { _, _ = io.WriteString(raw, "421 server refused TLS\r\n") })
	r := Run(t.Context(), away.target("localhost", a, nil))
	require.Equal(t, Failed, r.Outcome)
	require.Contains(t, r.Error, `server turned us away before it was asked for TLS: "421 server refused TLS"`)
	require.Empty(t, r.Hint, "it may have too many clients")

	p, refused := &prober{Target{Protocol: upgrade.SMTP}}, dialogue.Refusal(dialogue.ErrRefused, "421")
	late := Milliseconds(3 * time.Second)
	r = &Report{Outcome: Failed, Times: Times{Negotiate: &late}, Dialogue: []Utterance{{From: "server", Text: "421"}}, heard: true}
	require.Contains(t, p.hint(r, refused), "perhaps the server waits for a PROXY protocol header")
	r.Dialogue = append(r.Dialogue, Utterance{From: "client", Text: "EHLO"})
	require.Empty(t, p.hint(r, refused), "it has an answer for us")
	p.Protocol, r.Dialogue = upgrade.NBD, r.Dialogue[:1]
	require.False(t, p.turnedAway(r, refused), "it has no upgrade")

	ends := listen(t, "127.0.0.1:0", func(*server, net.Conn) {})
	for _, proto := range []*upgrade.Protocol{upgrade.SMTP, upgrade.LDAP} {
		for _, implicit := range []bool{false, true} {
			target := ends.target("localhost", a, nil)
			target.Protocol, target.ImplicitTLS = proto, implicit
			r = Run(t.Context(), target)
			require.Equal(t, Failed, r.Outcome)
			require.Contains(t, r.Hint, "ends the connection before it has said a word", "%s %v: %s", proto.Name, implicit, r.Error)
		}
	}
}

// Servers that want no header take it for a command, or for nonsense.
func TestProxyProtocolThatNobodyWants(t *testing.T) {
	a := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{*a.issue(t, "localhost")}}
	for version := byte(1); version <= 2; version++ {
		for _, implicit := range []bool{false, true} {
			target := listen(t, "127.0.0.1:0", mail(config, implicit)).target("localhost", a, nil)
			target.ProxyProtocol, target.ImplicitTLS = version, implicit
			r := Run(t.Context(), target)
			require.Nil(t, r.TLS)
			require.Contains(t, r.Hint, "try without --proxy-protocol", "%+v", r)
		}
	}
	p := &prober{Target{Protocol: upgrade.SMTP, ProxyProtocol: 1}}
	r := &Report{Outcome: Failed, Times: Times{Negotiate: new(Milliseconds), Handshake: new(Milliseconds)}, heard: true}
	require.Empty(t, p.hint(r, errors.New("handshake")), "the header was taken")
}
