package l4starttls

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// clientTLS is Caddy's for HTTP upstreams, but for a managed client certificate, which
// that would begin to obtain while a configuration is merely validated.
func (u *Upstream) clientTLS(ctx caddy.Context) (*tls.Config, error) {
	options := *u.TLS
	options.ClientCertificateAutomate = ""
	config, err := options.MakeTLSClientConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("making TLS client config: %w", err)
	}
	if config == nil { // all defaults
		config = new(tls.Config)
	}
	// A handler that a new configuration brings begins without sessions, since its trust may
	// be another. What is kept is bounded: 64 sessions.
	config.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	if u.ALPN != nil { // else it is the protocol's
		config.NextProtos = u.ALPN
	}
	name := u.TLS.ClientCertificateAutomate
	if name == "" {
		return config, nil
	}
	config.GetClientCertificate = func(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return managedCertificate(name, request)
	}
	_, err = manageNames(ctx, []string{name})
	return config, err
}

// managedCertificate chooses among the certificates that Caddy has for a name.
func managedCertificate(name string, request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	var why error
	for _, cert := range matchingCertificates(name) {
		if why = request.SupportsCertificate(&cert.Certificate); why == nil {
			return &cert.Certificate, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("no client certificate for %q that the upstream accepts", name), why)
}

// configFor makes the configuration of one connection.
func (u *Upstream) configFor(cx *layer4.Connection) (*upgrade.Config, error) {
	config := *u.config
	config.TLS = config.TLS.Clone()
	config.TLS.ServerName = u.serverName(cx.Replacer())
	if config.TLS.ServerName == "" && !u.Passthrough && !u.TLS.InsecureSkipVerify {
		return &config, fmt.Errorf("tls_server_name %q is empty for this connection", u.TLS.ServerName)
	}
	return &config, nil
}

// serverName is the upstream's. One to whom TLS is passed through is asked for by
// the name that the client has asked for. What it said in plaintext comes first: only XMPP
// clients say it there, and it is their domain, while by SNI some name a host.
func (u *Upstream) serverName(repl *caddy.Replacer) string {
	if u.TLS.ServerName != "" || !u.Passthrough {
		return repl.ReplaceAll(u.TLS.ServerName, "")
	}
	for _, key := range []string{"l4.starttls.server_name", "l4.tls.server_name"} {
		if name, _ := repl.GetString(key); validHostname(name) {
			return name
		}
	}
	return ""
}
