package l4starttls

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// maxImplicitTLS is as long as clients of any kind wait for a greeting.
const maxImplicitTLS = 10 * time.Second

// checkUse finds options that the protocol has no use for, and values that have no place
// before TLS.
func (h *Handler) checkUse() error {
	switch {
	case h.Greeting != "" && !h.proto.ServerFirst:
		return fmt.Errorf("greeting has no effect with protocol %q, which greets nobody; leave it out", h.proto.Name)
	case len(h.Capabilities) > 0 && h.proto.CheckCapability == nil:
		return fmt.Errorf("capabilities have no effect with protocol %q, which announces none before TLS; leave them out", h.proto.Name)
	case h.AllowPlaintextAuth && h.proto.PlaintextByDefault:
		return fmt.Errorf("allow_plaintext_auth has no effect with protocol %q, whose plaintext belongs to the application; leave it out", h.proto.Name)
	case h.Policy == "optional" && h.proto.AlwaysTLS:
		return fmt.Errorf("policy optional has no effect with protocol %q, whose clients cannot stay in plaintext; leave it out", h.proto.Name)
	case time.Duration(h.ImplicitTLS) > maxImplicitTLS:
		return fmt.Errorf("implicit_tls %s: longer than clients wait for a greeting; at most %s", time.Duration(h.ImplicitTLS), maxImplicitTLS)
	}
	for _, capability := range h.Capabilities {
		err := h.proto.CheckCapability(capability)
		if errors.Is(err, dialogue.ErrOffersLogin) && h.Policy == "optional" {
			continue
		}
		if err != nil {
			return fmt.Errorf("capabilities %q: %w%s", capability, err, whatForLogins(err))
		}
	}
	return nil
}

func whatForLogins(err error) string {
	if errors.Is(err, dialogue.ErrOffersLogin) {
		return ", which policy required refuses; leave it out"
	}
	return ""
}

// warnOfUse warns of what may be meant.
func (h *Handler) warnOfUse() {
	for _, capability := range h.Capabilities {
		err := h.proto.CheckCapability(capability)
		if errors.Is(err, dialogue.ErrOffersLogin) && !h.AllowPlaintextAuth {
			warnAtStart(h.logger, h.Source, "capabilities %q: %w, which is refused without allow_plaintext_auth; add that, or leave it out", capability, err)
		}
	}
}

func (u *Upstream) checkUse() error {
	if u.Hostname != "" && !u.proto.Introduces {
		return fmt.Errorf("hostname has no effect with protocol %q, whose clients do not tell their names; it is for: %s",
			u.proto.Name, protocolNames(func(p *upgrade.Protocol) bool { return p.Introduces && requestable(p) }))
	}
	for i, id := range u.ALPN {
		if len(id) == 0 || len(id) > 255 || slices.Contains(u.ALPN[:i], id) {
			return fmt.Errorf("tls_alpn %q: an id must have 1 to 255 octets, and be given once", id)
		}
	}
	return nil
}
