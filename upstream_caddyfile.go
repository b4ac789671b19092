package l4starttls

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// UnmarshalCaddyfile sets up the Upstream from Caddyfile tokens. Syntax:
//
//	starttls_upstream <protocol> {
//		policy                   required|optional
//		passthrough
//		negotiation_timeout      <duration>
//		handshake_timeout        <duration>
//		limits {
//			...
//		}
//		hostname                 <name>
//		log                      [<name>]
//		<an option of the protocol alone>
//
//		tls_alpn                 off | <ids...>
//		tls_client_auth          <automate_name> | <cert_file> <key_file>
//		tls_curves               <curves...>
//		tls_insecure_skip_verify
//		tls_renegotiation        <never|once|freely>
//		tls_server_name          <name>
//		tls_timeout              <duration>
//		tls_trust_pool           <module>
//	}
func (u *Upstream) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	u.Source = placeOf(d)
	if !d.NextArg() {
		return d.Errf("starttls_upstream wants a protocol; must be one of: %s", protocolNames(requestable))
	}
	u.Protocol = d.Val()
	if d.NextArg() {
		return d.ArgErr()
	}
	if err := eachOption(d, "starttls_upstream", []string{"tls_alpn", "tls_curves"}, u.unmarshalOption); err != nil {
		return err
	}
	return placed(u.checkCaddyfile(), u.Source)
}

func requestable(p *upgrade.Protocol) bool { return p.Request != nil }

func (u *Upstream) unmarshalOption(option string, d *caddyfile.Dispenser) error {
	switch option {
	case "policy":
		return oneArg(d, &u.Policy)
	case "passthrough":
		u.Passthrough = true
		return noArgs(d)
	case "negotiation_timeout":
		return oneDuration(d, &u.NegotiationTimeout)
	case "handshake_timeout":
		return oneDuration(d, &u.HandshakeTimeout)
	case "hostname":
		return oneArg(d, &u.Hostname)
	case "log":
		return optionalArg(d, &u.Log)
	case "limits":
		return unmarshalLimits(d, &u.Limits)
	}
	if option == "tls_alpn" {
		return u.unmarshalALPN(d)
	}
	if strings.HasPrefix(option, "tls_") {
		if u.TLS == nil {
			u.TLS = new(reverseproxy.TLSConfig)
		}
		return u.unmarshalTLS(option, d)
	}
	if ok, err := u.Options.unmarshalCaddyfile(d, u.Protocol); ok {
		return err
	}
	return u.unknownOption(option, d)
}

func (u *Upstream) unknownOption(option string, d *caddyfile.Dispenser) error {
	return d.Errf("unknown starttls_upstream option %q; must be one of: %s", option, withOwn("policy, passthrough, "+
		"negotiation_timeout, handshake_timeout, limits, hostname, log, tls_alpn, tls_client_auth, tls_curves, tls_insecure_skip_verify, "+
		"tls_renegotiation, tls_server_name, tls_timeout, tls_trust_pool", u.Protocol, true))
}

// unmarshalTLS takes the options of caddy-l4's proxy by the same names.
func (u *Upstream) unmarshalTLS(option string, d *caddyfile.Dispenser) error {
	switch option {
	case "tls_client_auth":
		return u.unmarshalClientAuth(d)
	case "tls_curves":
		return someArgs(d, &u.TLS.Curves)
	case "tls_insecure_skip_verify":
		u.TLS.InsecureSkipVerify = true
		return noArgs(d)
	case "tls_renegotiation":
		return oneArg(d, &u.TLS.Renegotiation)
	case "tls_server_name":
		return oneArg(d, &u.TLS.ServerName)
	case "tls_timeout":
		return oneDuration(d, &u.TLS.HandshakeTimeout)
	case "tls_trust_pool":
		return u.unmarshalTrustPool(d)
	}
	return u.unknownOption(option, d)
}

func (u *Upstream) unmarshalALPN(d *caddyfile.Dispenser) error {
	if err := someArgs(d, &u.ALPN); err != nil {
		return err
	}
	if slices.Contains(u.ALPN, "off") {
		if len(u.ALPN) > 1 {
			return d.Err("tls_alpn off offers no id, and goes with none")
		}
		u.ALPN = []string{}
	}
	return nil
}

func (u *Upstream) unmarshalClientAuth(d *caddyfile.Dispenser) error {
	switch args := d.RemainingArgs(); len(args) {
	case 1:
		u.TLS.ClientCertificateAutomate = args[0]
	case 2:
		u.TLS.ClientCertificateFile, u.TLS.ClientCertificateKeyFile = args[0], args[1]
	default:
		return d.ArgErr()
	}
	return nil
}

func (u *Upstream) unmarshalTrustPool(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "tls.ca_pool.source."+name)
	if err != nil {
		return err
	}
	if _, ok := module.(caddytls.CA); !ok {
		return d.Errf("CA module %q is not a certificate pool provider", name)
	}
	u.TLS.CARaw, err = layer4.SetModuleNameInline("provider", name, caddyconfig.JSON(module, nil))
	return err
}

// UnmarshalJSON takes the protocol's own options beside the others.
func (u *Upstream) UnmarshalJSON(b []byte) error {
	type upstream Upstream
	return u.Options.unmarshalJSON(b, (*upstream)(u))
}

// MarshalJSON is the reverse of UnmarshalJSON.
func (u *Upstream) MarshalJSON() ([]byte, error) {
	type upstream Upstream
	return u.Options.marshalJSON((*upstream)(u))
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Upstream)(nil)
	_ json.Marshaler        = (*Upstream)(nil)
	_ json.Unmarshaler      = (*Upstream)(nil)
)
