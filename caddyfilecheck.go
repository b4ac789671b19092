package l4starttls

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// A Caddyfile is checked as it is read, as far as it goes without the environment: there
// an error knows the line. What depends on placeholders is checked at start.

// checkCaddyfile checks the handler that has been read.
func (h *Handler) checkCaddyfile() error {
	if hasPlaceholder(h.Protocol) {
		return nil
	}
	draft := new(Handler)
	if err := copyConfig(draft, h); err != nil {
		return err
	}
	for i := range draft.Hostnames {
		known(&draft.Hostnames[i], "placeholder.example")
	}
	known(&draft.Greeting, "")
	draft.Limits.assumeKnown()
	return draft.check()
}

// checkCaddyfile checks the handler that has been read.
func (u *Upstream) checkCaddyfile() error {
	if hasPlaceholder(u.Protocol) {
		return nil
	}
	draft := new(Upstream)
	if err := copyConfig(draft, u); err != nil {
		return err
	}
	if draft.TLS == nil {
		draft.TLS = new(reverseproxy.TLSConfig)
	}
	known(&draft.Hostname, "placeholder.example")
	return draft.check()
}

// copyConfig copies what a configuration says of a module.
func copyConfig(to, from any) error {
	config, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(config, to)
}

func hasPlaceholder(text string) bool { return strings.Contains(text, "{") }

// known puts something else in the place of what is not known yet.
func known(text *string, instead string) {
	if hasPlaceholder(*text) {
		*text = instead
	}
}
