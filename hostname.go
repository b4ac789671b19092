package l4starttls

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddyserver/certmagic"
	"golang.org/x/net/idna"
)

// asciiHostnames makes of names what certificates, greetings and SNI have: names in other
// scripts as A-labels (RFC 5890), in lower case, without the dot of a domain that is
// complete.
func asciiHostnames(names []string) ([]string, error) {
	ascii := make([]string, len(names))
	for i, name := range names {
		var err error
		if ascii[i], err = asciiHostname(name); err != nil {
			return nil, fmt.Errorf("hostname %q: %w", name, err)
		}
	}
	return ascii, nil
}

func asciiHostname(name string) (string, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.String(), nil
	}
	return idna.ToASCII(strings.ToLower(strings.TrimSuffix(name, ".")))
}

// serves reports whether a name that a client has asked for is one of the hostnames,
// wildcards included, and returns it as they have it.
func (h *Handler) serves(name string) (ascii string, ok bool) {
	ascii, err := asciiHostname(name)
	if err != nil || ascii == "" {
		return "", false
	}
	for _, hostname := range h.Hostnames {
		if certmagic.MatchWildcard(ascii, hostname) {
			return ascii, true
		}
	}
	return "", false
}
