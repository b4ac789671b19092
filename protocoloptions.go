package l4starttls

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// protocolOptions are the options of a configuration that belong to one protocol alone, by
// name. The protocols declare them; nothing here knows any. In a Caddyfile and in JSON they
// stand beside the other options.
type protocolOptions map[string]string

// unmarshalJSON takes such options out of a module's JSON, and leaves the rest to decode
// strictly into module. Those of other protocols are taken, too: the check can say then to
// whom they belong.
func (o *protocolOptions) unmarshalJSON(b []byte, module any) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	for name := range allOptions() {
		raw, ok := fields[name]
		if !ok {
			continue
		}
		delete(fields, name)
		if err := o.set(name, raw); err != nil {
			return err
		}
	}
	if len(*o) > 0 {
		var err error
		if b, err = json.Marshal(fields); err != nil {
			return err
		}
	}
	return caddy.StrictUnmarshalJSON(b, module)
}

func (o *protocolOptions) set(name string, raw json.RawMessage) error {
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		return fmt.Errorf("option %q: %w", name, err)
	}
	if *o == nil {
		*o = protocolOptions{}
	}
	(*o)[name] = value
	return nil
}

// resolved has values in place of placeholders that are known at start, such as {env.NAME}.
func (o protocolOptions) resolved(repl *caddy.Replacer) protocolOptions {
	resolved := maps.Clone(o)
	for name, value := range o {
		resolved[name] = repl.ReplaceKnown(value, "")
	}
	return resolved
}

// marshalJSON is the reverse of unmarshalJSON.
func (o protocolOptions) marshalJSON(module any) ([]byte, error) {
	b, err := json.Marshal(module)
	if err != nil || len(o) == 0 {
		return b, err
	}
	b = bytes.TrimSuffix(b, []byte("}"))
	for _, name := range slices.Sorted(maps.Keys(o)) {
		field, err := json.Marshal(map[string]string{name: o[name]})
		if err != nil {
			return nil, err
		}
		b = append(append(b, ','), bytes.Trim(field, "{}")...)
	}
	return append(b, '}'), nil
}

// unmarshalCaddyfile takes the option that d stands at, if it is one of the protocol's. ok
// is false if it is not.
func (o *protocolOptions) unmarshalCaddyfile(d *caddyfile.Dispenser, protocol string) (ok bool, err error) {
	name, owner := d.Val(), allOptions()[d.Val()]
	proto, lookupErr := upgrade.Lookup(protocol)
	switch {
	case owner == "" || lookupErr != nil: // which the check will say
		return owner != "", nil
	case !slices.ContainsFunc(proto.Options, func(o dialogue.Option) bool { return o.Name == name }):
		return true, d.Errf("option %q belongs to protocol %s, not to %q", name, owner, protocol)
	}
	value := ""
	if err := oneArg(d, &value); err != nil {
		return true, err
	}
	if *o == nil {
		*o = protocolOptions{}
	}
	(*o)[name] = value
	return true, nil
}

// allOptions has the names of all protocols' own options, each with those who have it.
func allOptions() map[string]string {
	all := map[string]string{}
	for _, p := range upgrade.Protocols() {
		for _, o := range p.Options {
			all[o.Name] = strings.TrimPrefix(all[o.Name]+", "+p.Name, ", ")
		}
	}
	return all
}

// withOwn lists options, and behind them the protocol's own for one side.
func withOwn(options, protocol string, client bool) string {
	proto, err := upgrade.Lookup(protocol)
	if err != nil || len(proto.OptionNames(client)) == 0 {
		return options
	}
	return options + ", " + strings.Join(proto.OptionNames(client), ", ")
}
