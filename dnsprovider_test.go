package l4starttls_test

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

func init() { caddy.RegisterModule(new(dnsProvider)) }

// A dnsProvider stands for the plugin of a DNS provider, as far as a configuration has one.
type dnsProvider struct {
	certmagic.DNSProvider `json:"-"`

	Token string `json:"api_token"`
}

func (*dnsProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.cloudflare", New: func() caddy.Module { return new(dnsProvider) }}
}

func (p *dnsProvider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.Token) {
		return d.ArgErr()
	}
	return nil
}
