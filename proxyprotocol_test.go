package l4starttls

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"net"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// addressedConn is a connection between made-up hosts.
type addressedConn struct{ net.Conn }

func (addressedConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711}
}
func (addressedConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 143} }

// readHeader runs the handler, and parses what the next one reads first. The client
// says nothing meanwhile.
func readHeader(t *testing.T, version string, states ...*tls.ConnectionState) (*proxyproto.Header, *bufio.Reader, net.Conn) {
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	cx := layer4.WrapConnection(addressedConn{near}, nil, zap.NewNop())
	cx.SetVar("tls_connection_states", states)
	handler := &ProxyProtocol{Version: version}
	require.NoError(t, handler.Provision(caddy.Context{}))
	var next *layer4.Connection
	require.NoError(t, handler.Handle(cx, layer4.HandlerFunc(func(cx *layer4.Connection) error {
		next = cx
		return nil
	})))
	reader := bufio.NewReader(next)
	header, err := proxyproto.Read(reader)
	require.NoError(t, err)
	require.Equal(t, "192.0.2.1:4711", header.SourceAddr.String())
	require.Equal(t, "192.0.2.2:143", header.DestinationAddr.String())
	return header, reader, far
}

func TestSendProxyProtocolWithoutTLS(t *testing.T) {
	for version, number := range map[string]byte{"": 2, "v1": 1, "v2": 2} {
		header, reader, client := readHeader(t, version)
		require.Equal(t, number, header.Version)
		tlvs, err := header.TLVs()
		require.NoError(t, err)
		require.Empty(t, tlvs)
		go func() { _, _ = client.Write([]byte("after it")) }()
		rest := make([]byte, 8)
		_, err = io.ReadFull(reader, rest)
		require.NoError(t, err)
		require.Equal(t, "after it", string(rest))
	}
}

func TestSendProxyProtocolTellsOfTLS(t *testing.T) {
	serverCert := &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, SignatureAlgorithm: x509.ECDSAWithSHA256}
	state := &tls.ConnectionState{
		Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "mail.example.com",
		NegotiatedProtocol: "imap", PeerCertificates: []*x509.Certificate{serverCert},
		VerifiedChains: [][]*x509.Certificate{{serverCert}},
	}
	outer := &tls.ConnectionState{ServerName: "an outer one"}
	header, _, _ := readHeader(t, "v2", outer, state)
	tlvs, err := header.TLVs()
	require.NoError(t, err)
	values := map[proxyproto.PP2Type]string{}
	for _, tlv := range tlvs {
		values[tlv.Type] = string(tlv.Value)
	}
	require.Equal(t, "imap", values[proxyproto.PP2_TYPE_ALPN])
	require.Equal(t, "mail.example.com", values[proxyproto.PP2_TYPE_AUTHORITY])
	ssl, ok := tlvparse.FindSSL(tlvs)
	require.True(t, ok)
	require.True(t, ssl.ClientSSL() && ssl.ClientCertConn() && ssl.ClientCertSess() && ssl.Verified())
	requireText(t, "TLSv1.3")(ssl.SSLVersion())
	requireText(t, "TLS_AES_128_GCM_SHA256")(ssl.SSLCipher())
	requireText(t, "alice")(ssl.ClientCN())
	requireText(t, "ECDSA-SHA256")(ssl.SSLSigAlg())
}

func TestSendProxyProtocolOfAClientWithoutCertificate(t *testing.T) {
	state := &tls.ConnectionState{Version: tls.VersionTLS12, CipherSuite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	header, _, _ := readHeader(t, "v2", state)
	tlvs, err := header.TLVs()
	require.NoError(t, err)
	ssl, ok := tlvparse.FindSSL(tlvs)
	require.True(t, ok)
	require.True(t, ssl.ClientSSL())
	require.False(t, ssl.ClientCertConn() || ssl.Verified(), "nothing was verified")
	requireText(t, "TLSv1.2")(ssl.SSLVersion())
}

func TestSendProxyProtocolRefusesOtherVersions(t *testing.T) {
	err := (&ProxyProtocol{Version: "v3"}).Provision(caddy.Context{})
	require.ErrorContains(t, err, `unknown version "v3" of the PROXY protocol; must be one of: v1, v2`)
}

// What caddy-l4 has prefetched stays behind the header.
func TestSendProxyProtocolKeepsPrefetchedBytes(t *testing.T) {
	near, far := net.Pipe()
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	cx := layer4.WrapConnection(addressedConn{near}, []byte("early"), zap.NewNop())
	handler := &ProxyProtocol{Version: "v1"}
	err := handler.Handle(cx, layer4.HandlerFunc(func(cx *layer4.Connection) error {
		got := make([]byte, 200)
		n, _ := cx.Read(got)
		m, _ := cx.Read(got[n:])
		require.True(t, bytes.HasPrefix(got, []byte("PROXY TCP4 192.0.2.1 192.0.2.2 4711 143\r\n")))
		require.Equal(t, "early", string(got[n:n+m]))
		return nil
	}))
	require.NoError(t, err)
}

func requireText(t *testing.T, want string) func(string, bool) {
	return func(got string, ok bool) {
		t.Helper()
		require.True(t, ok)
		require.Equal(t, want, got)
	}
}
