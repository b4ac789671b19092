package l4starttls

import (
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
//		greeting            <text>
//		capabilities        <names...>
//		command             <text>
//		reply               <text>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the handler's name
	if !d.NextArg() {
		return d.Errf("starttls wants a protocol; must be one of: %s", protocolNames(nil))
	}
	h.Protocol = d.Val()
	h.Hostnames = append(h.Hostnames, d.RemainingArgs()...)
	return eachOption(d, "starttls", []string{"hostname", "capabilities", "connection_policy"}, h.unmarshalOption)
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
	case "greeting":
		return oneArg(d, &h.Greeting)
	case "capabilities":
		return someArgs(d, &h.Capabilities)
	case "command":
		return oneArg(d, &h.Command)
	case "reply":
		return oneArg(d, &h.Reply)
	}
	return d.Errf("unknown starttls option %q; must be one of: policy, allow_plaintext_auth, hostname, connection_policy, "+
		"passthrough, implicit_tls, negotiation_timeout, handshake_timeout, greeting, capabilities, command, reply", option)
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

var _ caddyfile.Unmarshaler = (*Handler)(nil)
