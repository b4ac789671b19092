package l4starttls

import (
	"encoding/json"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// UnmarshalCaddyfile sets up the Handler from Caddyfile tokens. Syntax:
//
//	starttls <protocol> [<hostnames...>] {
//		policy              required|optional
//		allow_plaintext_auth
//		hostname            <names...>
//		connection_policy {
//			...
//		}
//		passthrough
//		implicit_tls        [<delay>]
//		negotiation_timeout <duration>
//		handshake_timeout   <duration>
//		limits {
//			...
//		}
//		greeting            <text>
//		capabilities        <names...>
//		log                 [<name>]
//		<an option of the protocol alone>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	h.Source = placeOf(d)
	if !d.NextArg() {
		return d.Errf("starttls wants a protocol; must be one of: %s", protocolNames(nil))
	}
	h.Protocol = d.Val()
	h.Hostnames = append(h.Hostnames, d.RemainingArgs()...)
	if err := eachOption(d, "starttls", []string{"hostname", "capabilities", "connection_policy"}, h.unmarshalOption); err != nil {
		return err
	}
	return placed(h.checkCaddyfile(), h.Source)
}

// eachOption goes through a handler's block, in which only options that append may be
// repeated.
func eachOption(d *caddyfile.Dispenser, handler string, repeatable []string, unmarshal func(string, *caddyfile.Dispenser) error) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] && !slices.Contains(repeatable, option) {
			return d.Errf("duplicate %s option %q", handler, option)
		}
		seen[option] = true
		if err := unmarshal(option, d); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalOption(option string, d *caddyfile.Dispenser) error {
	switch option {
	case "policy":
		return oneArg(d, &h.Policy)
	case "hostname":
		return someArgs(d, &h.Hostnames)
	case "connection_policy":
		policy := new(caddytls.ConnectionPolicy)
		h.ConnectionPolicies = append(h.ConnectionPolicies, policy)
		return policy.UnmarshalCaddyfile(d.NewFromNextSegment())
	case "passthrough":
		h.Passthrough = true
		return noArgs(d)
	case "allow_plaintext_auth":
		h.AllowPlaintextAuth = true
		return noArgs(d)
	case "implicit_tls":
		h.ImplicitTLS = caddy.Duration(upgrade.DefaultImplicitTLSDelay)
		if d.CountRemainingArgs() > 0 {
			return oneDuration(d, &h.ImplicitTLS)
		}
		return nil
	case "negotiation_timeout":
		return oneDuration(d, &h.NegotiationTimeout)
	case "handshake_timeout":
		return oneDuration(d, &h.HandshakeTimeout)
	case "limits":
		return unmarshalLimits(d, &h.Limits)
	case "greeting":
		return oneArg(d, &h.Greeting)
	case "capabilities":
		return someArgs(d, &h.Capabilities)
	case "log":
		return optionalArg(d, &h.Log)
	}
	if ok, err := h.Options.unmarshalCaddyfile(d, h.Protocol); ok {
		return err
	}
	return d.Errf("unknown starttls option %q; must be one of: %s", option, withOwn("policy, allow_plaintext_auth, hostname, "+
		"connection_policy, passthrough, implicit_tls, negotiation_timeout, handshake_timeout, limits, greeting, capabilities, log", h.Protocol, false))
}

func noArgs(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() > 0 {
		return d.ArgErr()
	}
	return nil
}

func oneArg(d *caddyfile.Dispenser, value *string) error {
	if !d.AllArgs(value) {
		return d.ArgErr()
	}
	return nil
}

// optionalArg is for an option that may have a value, and is set without one, too.
func optionalArg(d *caddyfile.Dispenser, value **string) error {
	*value = new(string)
	if d.CountRemainingArgs() == 0 {
		return nil
	}
	return oneArg(d, *value)
}

func someArgs(d *caddyfile.Dispenser, values *[]string) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	*values = append(*values, args...)
	return nil
}

func oneDuration(d *caddyfile.Dispenser, value *caddy.Duration) error {
	option, text := d.Val(), ""
	if err := oneArg(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil {
		return d.Errf("parsing %s %q: %v", option, text, err)
	}
	*value = caddy.Duration(duration)
	return nil
}

// UnmarshalJSON takes the protocol's own options beside the others.
func (h *Handler) UnmarshalJSON(b []byte) error {
	type starttls Handler
	return h.Options.unmarshalJSON(b, (*starttls)(h))
}

// MarshalJSON is the reverse of UnmarshalJSON.
func (h *Handler) MarshalJSON() ([]byte, error) {
	type starttls Handler
	return h.Options.marshalJSON((*starttls)(h))
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ json.Marshaler        = (*Handler)(nil)
	_ json.Unmarshaler      = (*Handler)(nil)
)
