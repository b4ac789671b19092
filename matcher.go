package l4starttls

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/mholt/caddy-l4/layer4"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Matcher matches connections that begin as those of clients that want an upgrade in one of
// the given protocols: with the SSLRequest of PostgreSQL, the StartTLS operation of LDAP, the
// stream header of XMPP. No protocols match all in which the client speaks first.
//
// Protocols in which the server speaks first cannot be matched: the client waits for
// the greeting, and the matcher for the client. Route them by port.
type Matcher struct {
	Protocols []string `json:"-"`

	matches []func([]byte) dialogue.Verdict
}

// CaddyModule returns the Caddy module information.
func (*Matcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.matchers.starttls", New: func() caddy.Module { return new(Matcher) }}
}

// UnmarshalJSON takes the list of protocols that is the matcher's value.
func (m *Matcher) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &m.Protocols) }

// MarshalJSON is the reverse of UnmarshalJSON.
func (m *Matcher) MarshalJSON() ([]byte, error) {
	return json.Marshal(append([]string{}, m.Protocols...))
}

// Provision sets up the matcher.
func (m *Matcher) Provision(caddy.Context) error {
	protocols, err := m.lookup()
	for _, p := range protocols {
		m.matches = append(m.matches, p.Match)
	}
	return err
}

func (m *Matcher) lookup() (found []*upgrade.Protocol, err error) {
	for _, name := range m.Protocols {
		p, err := upgrade.Lookup(name)
		switch {
		case err != nil:
			return nil, err
		case p.ServerFirst:
			return nil, fmt.Errorf("protocol %q cannot be matched, because the server speaks first: give it a port of its own, "+
				"and use the starttls handler without this matcher; can be matched: %s", name, protocolNames(matchable))
		case p.Match == nil:
			return nil, fmt.Errorf("protocol %q cannot be matched; can be matched: %s", name, protocolNames(matchable))
		}
		found = append(found, p)
	}
	if len(m.Protocols) > 0 {
		return found, nil
	}
	for _, p := range upgrade.Protocols() {
		if matchable(p) {
			found = append(found, p)
		}
	}
	return found, nil
}

func matchable(p *upgrade.Protocol) bool { return p.Match != nil }

// Match reports whether the connection begins with an upgrade request. It asks for
// more bytes only while those that are there could still become one, and consumes
// none.
func (m *Matcher) Match(cx *layer4.Connection) (bool, error) {
	prefix := cx.MatchingBytes()
	undecided := false
	for _, match := range m.matches {
		switch match(prefix) {
		case dialogue.Matched:
			return true, nil
		case dialogue.NeedMore:
			undecided = true
		case dialogue.NoMatch:
		}
	}
	if undecided {
		return false, layer4.ErrConsumedAllPrefetchedBytes
	}
	return false, nil
}

// UnmarshalCaddyfile sets up the Matcher from Caddyfile tokens. Syntax:
//
//	starttls [<protocols...>]
func (m *Matcher) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	_, wrapper := d.Next(), d.Val()
	m.Protocols = d.RemainingArgs()
	if d.NextBlock(d.Nesting()) {
		return d.Errf("malformed %s matcher: blocks are not supported", wrapper)
	}
	if _, err := m.lookup(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Matcher)(nil)
	_ caddyfile.Unmarshaler = (*Matcher)(nil)
	_ layer4.ConnMatcher    = (*Matcher)(nil)
	_ json.Marshaler        = (*Matcher)(nil)
	_ json.Unmarshaler      = (*Matcher)(nil)
)
