package l4starttls

import (
	"crypto/tls"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// provisionTLS builds the TLS configuration, once: sessions can only be resumed
// while the ticket keys of one configuration live.
func (h *Handler) provisionTLS(ctx caddy.Context) error {
	app, err := manageNames(ctx, h.Hostnames)
	if err != nil {
		return err
	}
	check := &certificateCheck{names: h.Hostnames, source: h.Source, app: app, logger: h.logger}
	h.config.TLSAvailable = check.available
	if len(h.Hostnames) == 0 {
		app.any = append(app.any, check)
	}
	if len(h.ConnectionPolicies) == 0 {
		h.ConnectionPolicies = append(h.ConnectionPolicies, new(caddytls.ConnectionPolicy))
	}
	for _, policy := range h.ConnectionPolicies {
		h.fillPolicy(policy)
	}
	byName := goByName(h.ConnectionPolicies)
	if err := h.ConnectionPolicies.Provision(ctx); err != nil {
		return fmt.Errorf("setting up connection policies: %w", err)
	}
	for _, policy := range h.ConnectionPolicies {
		// Caddy adds acme-tls/1, but no ACME server looks behind an upgrade, and
		// what speaks it here is no client of this protocol.
		policy.TLSConfig.NextProtos = policy.ALPN
		h.chooseCertificate(policy, check)
		markMissing(policy.TLSConfig)
	}
	h.config.TLS = h.ConnectionPolicies.TLSConfig(ctx)
	captureHello(h.config.TLS, byName)
	return nil
}

// fillPolicy sets what a policy does not set itself. Caddy's own default for ALPN
// is that of web servers, which would let a browser be redirected here (ALPACA). An
// empty list is no default to Caddy, but "no ALPN".
func (h *Handler) fillPolicy(policy *caddytls.ConnectionPolicy) {
	if policy.ALPN == nil {
		policy.ALPN = append([]string{}, h.proto.ALPN...)
	}
}

// chooseCertificate has a client get the certificate of the host that it asked for, by SNI
// or else in plaintext, if there is one. Others get that of the first
// hostname, whatever address they have connected to, unless the policy has a default of its
// own: whether the certificate will do is the client's to say, and a sender of mail may not
// care (RFC 7672 section 8.1).
func (h *Handler) chooseCertificate(policy *caddytls.ConnectionPolicy, check *certificateCheck) {
	if len(h.Hostnames) == 0 {
		return
	}
	get := policy.TLSConfig.GetCertificate
	policy.TLSConfig.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		name := hello.ServerName
		if name == "" {
			name = h.withoutSNI(hello, policy)
		}
		if name != "" {
			if cert, err := get(named(hello, name)); err == nil {
				return cert, nil
			}
		}
		return get(named(hello, check.defaultName()))
	}
}

// named is a ClientHello that asks for a name.
func named(hello *tls.ClientHelloInfo, name string) *tls.ClientHelloInfo {
	if hello.ServerName == name {
		return hello
	}
	copied := *hello
	copied.ServerName = name
	return &copied
}

// withoutSNI is the name whose certificate a client gets that sends no SNI, or empty.
func (h *Handler) withoutSNI(hello *tls.ClientHelloInfo, policy *caddytls.ConnectionPolicy) string {
	if name, ok := h.serves(upgrade.RequestedName(hello.Context())); ok {
		return name
	}
	return policy.DefaultSNI
}
