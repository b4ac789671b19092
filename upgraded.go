package l4starttls

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// Upgraded matches a connection on which TLS has been terminated, by starttls or by
// tls, by its ClientHello. Its value maps the names of tls.handshake_match modules,
// such as `sni` or `alpn`, to their values; all of them must match. The key
// `protocol` holds a list of protocols, one of which must have been upgraded.
//
// It reads nothing from the connection, so it never waits.
type Upgraded struct {
	MatchersRaw caddy.ModuleMap `json:"-" caddy:"namespace=tls.handshake_match"`
	Protocols   []string        `json:"-"`

	matchers []caddytls.ConnectionMatcher
}

// CaddyModule returns the Caddy module information.
func (*Upgraded) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.matchers.upgraded", New: func() caddy.Module { return new(Upgraded) }}
}

// UnmarshalJSON takes apart the map that is the matcher's value.
func (u *Upgraded) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &u.MatchersRaw); err != nil {
		return err
	}
	if raw, ok := u.MatchersRaw["protocol"]; ok {
		delete(u.MatchersRaw, "protocol")
		return json.Unmarshal(raw, &u.Protocols)
	}
	return nil
}

// MarshalJSON is the reverse of UnmarshalJSON.
func (u *Upgraded) MarshalJSON() ([]byte, error) {
	value := caddy.ModuleMap{}
	for name, raw := range u.MatchersRaw {
		value[name] = raw
	}
	if len(u.Protocols) > 0 {
		value["protocol"] = caddyconfig.JSON(u.Protocols, nil)
	}
	return json.Marshal(value)
}

// Provision sets up the matcher.
func (u *Upgraded) Provision(ctx caddy.Context) error {
	if err := u.checkProtocols(); err != nil {
		return err
	}
	modules, err := ctx.LoadModule(u, "MatchersRaw")
	if err != nil {
		return fmt.Errorf("loading TLS matchers: %w", err)
	}
	for _, module := range modules.(map[string]any) {
		u.matchers = append(u.matchers, module.(caddytls.ConnectionMatcher))
	}
	return nil
}

func (u *Upgraded) checkProtocols() error {
	for _, name := range u.Protocols {
		if _, err := upgrade.Lookup(name); err != nil {
			return err
		}
	}
	return nil
}

// Match reports whether the last TLS that was terminated on the connection matches.
func (u *Upgraded) Match(cx *layer4.Connection) (bool, error) {
	hellos := l4tls.GetClientHelloInfos(cx)
	if len(hellos) == 0 {
		return false, nil
	}
	hello := hellos[len(hellos)-1].ClientHelloInfo
	hello.Conn = cx
	for _, matcher := range u.matchers {
		if !matcher.Match(&hello) {
			return false, nil
		}
	}
	return len(u.Protocols) == 0 || slices.Contains(u.Protocols, upgradedProtocol(cx)), nil
}

// upgradedProtocol is the protocol that starttls has upgraded, if it has.
func upgradedProtocol(cx *layer4.Connection) string {
	name, _ := cx.Replacer().GetString("l4.starttls.protocol")
	return name
}

// UnmarshalCaddyfile sets up the Upgraded from Caddyfile tokens. Syntax:
//
//	upgraded {
//		<matcher> [<args...>]
//		protocol  <names...>
//	}
//	upgraded <matcher> [<args...>]
//	upgraded
func (u *Upgraded) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the matcher's name
	u.MatchersRaw = caddy.ModuleMap{}
	for nesting := d.Nesting(); d.NextArg() || d.NextBlock(nesting); {
		if err := u.unmarshalOption(d.Val(), d.NewFromNextSegment()); err != nil {
			return err
		}
	}
	return nil
}

func (u *Upgraded) unmarshalOption(name string, d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if name == "protocol" {
		if err := someArgs(d, &u.Protocols); err != nil {
			return err
		}
		if err := u.checkProtocols(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
	if _, ok := u.MatchersRaw[name]; ok {
		return d.Errf("duplicate TLS matcher %q", name)
	}
	module, err := caddyfile.UnmarshalModule(d, "tls.handshake_match."+name)
	if err != nil {
		return err
	}
	u.MatchersRaw[name] = caddyconfig.JSON(module, nil)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Upgraded)(nil)
	_ caddyfile.Unmarshaler = (*Upgraded)(nil)
	_ layer4.ConnMatcher    = (*Upgraded)(nil)
	_ json.Marshaler        = (*Upgraded)(nil)
	_ json.Unmarshaler      = (*Upgraded)(nil)
)
