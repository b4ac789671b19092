package l4starttls

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() { httpcaddyfile.RegisterGlobalOption("starttls", parseGlobalOption) }

// parseGlobalOption sets up the App from Caddyfile tokens. Syntax:
//
//	starttls {
//		grace_period <duration>
//	}
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Err("duplicate global option starttls")
	}
	a := new(App)
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	if err := eachOption(d, "starttls", nil, a.unmarshalOption); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "starttls", Value: caddyconfig.JSON(a, nil)}, nil
}

func (a *App) unmarshalOption(option string, d *caddyfile.Dispenser) error {
	if option != "grace_period" {
		return d.Errf("unknown global starttls option %q; must be one of: grace_period", option)
	}
	a.GracePeriod = new(caddy.Duration)
	if err := oneDuration(d, a.GracePeriod); err != nil {
		return err
	}
	if err := checkDuration(option, *a.GracePeriod); err != nil {
		return d.Err(err.Error()) // here, where the line is known
	}
	return nil
}
