package l4starttls

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"testing"

	"github.com/mholt/caddy-l4/layer4"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// datagrams is a connection of the kind that caddy-l4 makes of datagrams.
type datagrams struct{ net.Conn }

func (datagrams) LocalAddr() net.Addr { return &net.UDPAddr{Port: 25} }

// Ways that connections may come that cannot be seen at start.
var (
	plainWay  = func(conn net.Conn) *layer4.Connection { return layer4.WrapConnection(conn, nil, zap.NewNop()) }
	packetWay = func(conn net.Conn) *layer4.Connection { return plainWay(datagrams{conn}) }
	headerWay = func(conn net.Conn) *layer4.Connection {
		cx := plainWay(conn)
		return cx.Wrap(prefixconn.New(cx.Wrap(headerConn{prefixconn.New(cx, []byte("PROXY"))}), nil))
	}
	tlsWay = func(conn net.Conn) *layer4.Connection {
		cx := plainWay(conn)
		cx.SetVar(layer4.TLSConnectionStatesVarName, []*tls.ConnectionState{{}})
		return cx
	}
	upgradedWay = func(conn net.Conn) *layer4.Connection {
		cx := plainWay(conn)
		cx.Replacer().Set("l4.starttls.protocol", "imap")
		return cx
	}
)

func TestConnectionsThatHaveComeTheWrongWayAreRefused(t *testing.T) {
	documented, err := os.ReadFile("docs/mistakes.md")
	require.NoError(t, err)
	starttls := func(logger *zap.Logger) layer4.NextHandler { return &Handler{proto: upgrade.SMTP, logger: logger} }
	upstream := func(logger *zap.Logger) layer4.NextHandler { return &Upstream{proto: upgrade.SMTP, logger: logger} }
	unasked := func(logger *zap.Logger) layer4.NextHandler {
		return &Upstream{proto: upgrade.HTTP, Passthrough: true, logger: logger}
	}
	header := func(logger *zap.Logger) layer4.NextHandler {
		return &ProxyProtocol{logger: logger, warned: new(sync.Once)}
	}
	for name, test := range map[string]struct {
		handler func(*zap.Logger) layer4.NextHandler
		way     func(net.Conn) *layer4.Connection
		want    string
	}{
		"starttls on datagrams":   {starttls, packetWay, "starttls needs a stream"},
		"starttls behind header":  {starttls, headerWay, "send_proxy_protocol is in front of starttls"},
		"starttls behind tls":     {starttls, tlsWay, "tls in front of starttls has terminated TLS"},
		"upstream on datagrams":   {upstream, packetWay, "starttls_upstream needs a stream"},
		"upstream behind header":  {upstream, headerWay, "send_proxy_protocol is in front of starttls_upstream"},
		"upstream behind another": {upstream, upgradedWay, "starttls_upstream smtp behind starttls imap"},
		"upstream of the unasked": {unasked, plainWay, "starttls_upstream http with passthrough, and no starttls in front of it"},
		"two headers":             {header, headerWay, "send_proxy_protocol twice"},
	} {
		t.Run(name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			handler := test.handler(zap.New(core))
			for range 3 {
				near, far := net.Pipe()
				t.Cleanup(func() { _, _ = near.Close(), far.Close() })
				require.NoError(t, handler.Handle(test.way(near), layer4.HandlerFunc(func(*layer4.Connection) error {
					t.Error("the next handler has been called")
					return nil
				})))
			}
			require.Len(t, logs.All(), 1, "one warning, whatever the number of connections")
			require.Equal(t, zap.WarnLevel, logs.All()[0].Level)
			require.Contains(t, logs.All()[0].Message, test.want)
			require.Contains(t, string(documented), "\n"+logs.All()[0].Message+"\n")
		})
	}
}

// What has come the right way is not refused.
func TestConnectionsThatHaveComeTheRightWay(t *testing.T) {
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	for _, protocol := range []*upgrade.Protocol{upgrade.SMTP, upgrade.IMAP} {
		require.Empty(t, (&Handler{proto: protocol}).misplaced(plainWay(near)))
		require.Empty(t, (&Upstream{proto: protocol}).misplaced(plainWay(near)))
		require.Empty(t, (&Upstream{proto: protocol}).misplaced(tlsWay(near)))
	}
	require.Empty(t, (&Upstream{proto: upgrade.IMAP}).misplaced(upgradedWay(near)))
}
