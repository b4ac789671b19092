package l4starttls

import (
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"
)

// unmarshalLimits reads a block of limits. Syntax:
//
//	limits {
//		message     <size>
//		bytes       <size>
//		commands    <n>
//		errors      <n>
//		idle        <duration>
//		per_address <n>
//		upgrades    <n>/<duration>
//		except      <ranges...>
//	}
func unmarshalLimits(d *caddyfile.Dispenser, limits **Limits) error {
	if err := noArgs(d); err != nil {
		return err
	}
	l := new(Limits)
	*limits = l
	some := false
	err := eachOption(d, "limits", []string{"except"}, func(option string, d *caddyfile.Dispenser) error {
		some = true
		return l.unmarshalOption(option, d)
	})
	if err == nil && !some {
		return d.Errf("limits wants a block; %s", limitNames)
	}
	return err
}

const limitNames = "must be one of: message, bytes, commands, errors, idle, per_address, upgrades, except"

func (l *Limits) unmarshalOption(option string, d *caddyfile.Dispenser) error {
	switch option {
	case "message":
		return oneSize(d, &l.Message)
	case "bytes":
		return oneSize(d, &l.Bytes)
	case "commands":
		return oneNumber(d, &l.Commands)
	case "errors":
		return oneNumber(d, &l.Errors)
	case "idle":
		return l.unmarshalIdle(d)
	case "per_address":
		return oneNumber(d, &l.PerAddress)
	case "upgrades":
		return oneArg(d, &l.Upgrades)
	case "except":
		return l.unmarshalExcept(d)
	}
	return d.Errf("unknown limits option %q; %s", option, limitNames)
}

func (l *Limits) unmarshalIdle(d *caddyfile.Dispenser) error {
	if err := oneDuration(d, &l.Idle); err != nil {
		return err
	}
	return notZero(d, "idle", l.Idle == 0)
}

// unmarshalExcept knows the name that other matchers have for private ranges.
func (l *Limits) unmarshalExcept(d *caddyfile.Dispenser) error {
	var ranges []string
	if err := someArgs(d, &ranges); err != nil {
		return err
	}
	for _, text := range ranges {
		if text == "private_ranges" {
			l.Except = append(l.Except, caddyhttp.PrivateRangesCIDR()...)
			continue
		}
		l.Except = append(l.Except, text)
	}
	return nil
}

// notZero refuses what could be taken for "none at all" as well as for "any number".
func notZero(d *caddyfile.Dispenser, option string, zero bool) error {
	if zero {
		return d.Errf("limits %s 0: must be more than that; leave it out for the default", option)
	}
	return nil
}

// oneSize reads a size, such as 4096 or 64KiB.
func oneSize(d *caddyfile.Dispenser, value *int) error {
	option, text := d.Val(), ""
	if err := oneArg(d, &text); err != nil {
		return err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size > 1<<40 {
		return d.Errf("limits %s %q: must be a size, such as 4096 or 64KiB", option, text)
	}
	*value = int(size)
	return notZero(d, option, size == 0)
}

func oneNumber(d *caddyfile.Dispenser, value *int) error {
	option, text := d.Val(), ""
	if err := oneArg(d, &text); err != nil {
		return err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return d.Errf("limits %s %q: must be a number", option, text)
	}
	*value = n
	return notZero(d, option, n == 0)
}

// replacePlaceholders resolves those that are known at start.
func (l *Limits) replacePlaceholders() *Limits {
	if l == nil {
		return nil
	}
	resolved, repl := *l, caddy.NewReplacer()
	resolved.Upgrades = repl.ReplaceAll(l.Upgrades, "")
	resolved.Except = make([]string, len(l.Except))
	for i, text := range l.Except {
		resolved.Except[i] = repl.ReplaceAll(text, "")
	}
	return &resolved
}

// texts are those options that may have placeholders, by name.
func (l *Limits) texts() (all [][2]string) {
	if l == nil {
		return nil
	}
	all = append(all, [2]string{"limits upgrades", l.Upgrades})
	for _, text := range l.Except {
		all = append(all, [2]string{"limits except", text})
	}
	return all
}

// assumeKnown puts values in the place of what is not known yet.
func (l *Limits) assumeKnown() {
	if l == nil {
		return
	}
	known(&l.Upgrades, "1/1s")
	for i := range l.Except {
		known(&l.Except[i], "192.0.2.1")
	}
}
