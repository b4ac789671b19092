package l4starttls

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// policies are the values of the policy option.
var policies = []string{"required", "optional"}

// check finds what is wrong with a configuration before anything listens. Every
// error names the value, and the choices where there are some.
func (h *Handler) check() (err error) {
	if h.Protocol == "" {
		return fmt.Errorf("no protocol; must be one of: %s", protocolNames(nil))
	}
	if h.proto, err = upgrade.Lookup(h.Protocol); err != nil {
		return err
	}
	if err := checkPolicy(h.Policy); err != nil {
		return err
	}
	if h.proto.Accept == nil && !h.proto.EarlyDial {
		return fmt.Errorf("protocol %q cannot be accepted, only requested from an upstream", h.Protocol)
	}
	for _, check := range []func() error{h.checkHostnames, h.checkTexts, h.checkUse, h.checkOptions} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func checkPolicy(policy string) error {
	if policy != "" && !slices.Contains(policies, policy) {
		return fmt.Errorf("unknown policy %q; must be one of: %s", policy, strings.Join(policies, ", "))
	}
	return nil
}

func (h *Handler) checkHostnames() error {
	for i, name := range h.Hostnames {
		if strings.HasPrefix(name, "*.") && i == 0 {
			return fmt.Errorf("hostname %q: the first one is the server's name in greetings and cannot be a wildcard", name)
		}
		if err := checkHostname("hostname", name); err != nil {
			return err
		}
	}
	return nil
}

func checkHostname(option, name string) error {
	if !validHostname(name) {
		return fmt.Errorf("%s %q: must be a domain name or an IP address, without a port", option, name)
	}
	return nil
}

// validHostname accepts what a certificate can be had for. Names in other scripts
// are accepted as they are, since Caddy encodes them.
func validHostname(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return name != "" && len(name) <= 253 && !strings.HasPrefix(name, ".") &&
		!strings.Contains(name, "..") && !strings.ContainsAny(name, " \t\r\n\x00\"'\\/:;,<>()[]{}@")
}

// checkTexts keeps control characters out of what is said before TLS: they would
// make two replies of one.
func (h *Handler) checkTexts() error {
	texts := map[string][]string{
		"greeting": {h.Greeting}, "capabilities": h.Capabilities,
	}
	if h.proto.CheckGreeting != nil {
		if err := h.proto.CheckGreeting(h.Greeting); err != nil {
			return fmt.Errorf("greeting %q: %w", h.Greeting, err)
		}
	}
	for option, values := range texts {
		for _, value := range values {
			if err := checkText(option, value); err != nil {
				return err
			}
		}
	}
	return h.proto.CheckOptions(h.Options.resolved(caddy.NewReplacer()), false)
}

// checkText finds what would make two lines of one.
func checkText(option, text string) error {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%s %q: must not contain control characters", option, text)
	}
	return nil
}

func checkDuration(option string, d caddy.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s %s: must not be negative", option, time.Duration(d))
	}
	return nil
}

func (h *Handler) checkOptions() error {
	switch {
	case h.proto.EarlyDial && h.Passthrough:
		return fmt.Errorf("protocol %q cannot be passed through: it is upgraded in place", h.Protocol)
	case h.Passthrough && len(h.ConnectionPolicies) > 0:
		return fmt.Errorf("passthrough leaves TLS to the handlers that follow, so connection_policy has no effect")
	case h.AllowPlaintextAuth && h.Policy != "optional":
		return fmt.Errorf("allow_plaintext_auth has no effect without policy optional")
	case h.ImplicitTLS > 0 && (h.Passthrough || !h.proto.TakesImplicitTLS()):
		return fmt.Errorf("implicit_tls does not go with passthrough, nor with a protocol such as line, whose backend is needed before the upgrade")
	}
	return errors.Join(checkData(h.proto, h.Options, h.Passthrough), checkDuration("implicit_tls", h.ImplicitTLS),
		checkDuration("negotiation_timeout", h.NegotiationTimeout), checkDuration("handshake_timeout", h.HandshakeTimeout),
		h.Limits.checkClients(h.proto), h.Limits.check(h.NegotiationTimeout))
}

// protocolNames lists the protocols that satisfy a condition, or all.
func protocolNames(condition func(*upgrade.Protocol) bool) string {
	var names []string
	for _, p := range upgrade.Protocols() {
		if condition == nil || condition(p) {
			names = append(names, p.Name)
		}
	}
	return strings.Join(names, ", ")
}
