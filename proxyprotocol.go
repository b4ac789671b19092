package l4starttls

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4proxyprotocol"
	"github.com/mholt/caddy-l4/modules/l4tls"
	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
)

// ProxyProtocol puts a PROXY protocol header in front of what the next handlers read
// from the connection, and so in front of what goes upstream. Version 2 also tells
// what is known of the client's TLS, without which Dovecot and others take the
// client for one that talks in plaintext: ALPN, the server's name, the TLS version and
// cipher suite, and the client certificate's name and algorithms.
//
// It works behind the tls handler as well as behind starttls. Do not combine it with
// the proxy_protocol option of proxy, which writes a header of its own.
type ProxyProtocol struct {
	// The version of the header: `v1`, which has no room for TLS, or `v2`.
	// Default: `v2`.
	Version string `json:"version,omitempty"`

	// Where the Caddyfile has this handler, for errors. The adapter sets it.
	Source string `json:"source,omitempty"`

	logger *zap.Logger
	warned *sync.Once
}

// CaddyModule returns the Caddy module information.
func (*ProxyProtocol) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.send_proxy_protocol", New: func() caddy.Module { return new(ProxyProtocol) }}
}

// Provision sets up the handler.
func (p *ProxyProtocol) Provision(ctx caddy.Context) error {
	if err := p.check(); err != nil {
		return placed(err, p.Source)
	}
	p.logger, p.warned = ctx.Logger(), new(sync.Once)
	return checkRoute(ctx, p.logger)
}

func (p *ProxyProtocol) check() error {
	switch p.Version {
	case "":
		p.Version = "v2"
	case "v1", "v2":
	default:
		return fmt.Errorf("unknown version %q of the PROXY protocol; must be one of: v1, v2", p.Version)
	}
	return nil
}

// Handle calls the next handler with a connection that yields the header first, at
// once, without waiting for the client.
func (p *ProxyProtocol) Handle(cx *layer4.Connection, next layer4.Handler) error {
	if _, twice := findBelow[headerConn](cx); twice {
		p.warned.Do(func() { p.logger.Warn("refused connection: send_proxy_protocol twice; remove one of them") })
		return nil
	}
	header, err := p.header(cx)
	if err != nil {
		return fmt.Errorf("making PROXY protocol header: %w", err)
	}
	return next.Handle(cx.Wrap(headerConn{prefixconn.New(takeOver(cx), header)}))
}

func (p *ProxyProtocol) header(cx *layer4.Connection) ([]byte, error) {
	version := byte(2)
	if p.Version == "v1" {
		version = 1
	}
	client := l4proxyprotocol.GetConn(cx)
	header := proxyproto.HeaderProxyFromAddrs(version, client.RemoteAddr(), client.LocalAddr())
	if states := l4tls.GetConnectionStates(cx); version == 2 && len(states) > 0 {
		tlvs, err := tlsFacts(states[len(states)-1])
		if err != nil {
			return nil, err
		}
		if err := header.SetTLVs(tlvs); err != nil {
			return nil, err
		}
	}
	return header.Format()
}

// tlsFacts makes the TLVs of a terminated TLS (PROXY protocol section 2.2).
func tlsFacts(state *tls.ConnectionState) (tlvs []proxyproto.TLV, err error) {
	add := func(to *[]proxyproto.TLV, kind proxyproto.PP2Type, value string) {
		if value != "" {
			*to = append(*to, proxyproto.TLV{Type: kind, Value: []byte(value)})
		}
	}
	add(&tlvs, proxyproto.PP2_TYPE_ALPN, state.NegotiatedProtocol)
	add(&tlvs, proxyproto.PP2_TYPE_AUTHORITY, state.ServerName)
	ssl := tlvparse.PP2SSL{Client: tlvparse.PP2_BITFIELD_CLIENT_SSL, Verify: 1}
	add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_VERSION, sslVersion(state.Version))
	add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_CIPHER, tls.CipherSuiteName(state.CipherSuite))
	if len(state.PeerCertificates) > 0 {
		cert := state.PeerCertificates[0]
		ssl.Client |= certificateFlags(state)
		if len(state.VerifiedChains) > 0 {
			ssl.Verify = 0
		}
		add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_CN, cert.Subject.CommonName)
		add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_SIG_ALG, cert.SignatureAlgorithm.String())
		add(&ssl.TLV, proxyproto.PP2_SUBTYPE_SSL_KEY_ALG, keyAlgorithm(cert))
	}
	tlv, err := ssl.Marshal()
	return append(tlvs, tlv), err
}

// certificateFlags tells a certificate shown on this connection from one that was
// shown when the session began.
func certificateFlags(state *tls.ConnectionState) uint8 {
	if state.DidResume {
		return tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS
	}
	return tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS | tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN
}

// sslVersion names a version as OpenSSL does, which is what receivers expect.
func sslVersion(version uint16) string {
	switch version {
	case tls.VersionTLS13:
		return "TLSv1.3"
	case tls.VersionTLS12:
		return "TLSv1.2"
	}
	return tls.VersionName(version)
}

// keyAlgorithm names a key with its size, as in "RSA2048".
func keyAlgorithm(cert *x509.Certificate) string {
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA%d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return fmt.Sprintf("EC%d", key.Curve.Params().BitSize)
	case ed25519.PublicKey:
		return "ED25519"
	}
	return cert.PublicKeyAlgorithm.String()
}

// UnmarshalCaddyfile sets up the ProxyProtocol from Caddyfile tokens. Syntax:
//
//	send_proxy_protocol [v1|v2]
func (p *ProxyProtocol) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	_, wrapper := d.Next(), d.Val()
	p.Source = placeOf(d)
	if d.NextArg() {
		p.Version = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("malformed %s handler: blocks are not supported", wrapper)
	}
	if !hasPlaceholder(p.Version) {
		draft := *p
		return placed(draft.check(), p.Source)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ProxyProtocol)(nil)
	_ caddyfile.Unmarshaler = (*ProxyProtocol)(nil)
	_ layer4.NextHandler    = (*ProxyProtocol)(nil)
)
