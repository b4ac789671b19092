package l4starttls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/mholt/caddy-l4/modules/l4tls"
)

// errNoPolicy means that no connection policy is for a client, most often because of the name
// that it asks for.
var errNoPolicy = errors.New("no connection policy is for the client")

// A clientHello is what a connection's handshake leaves for its session.
type clientHello struct {
	infos    [1]l4tls.ClientHelloInfo // as caddy-l4's variable has them
	unserved error                    // why no connection policy is for it, or nil
}

// explained puts in front of a failed handshake's error why there was no certificate, which
// crypto/tls is not told.
func (h *clientHello) explained(err error) error {
	if err == nil || h == nil || h.unserved == nil || errors.Is(err, errNoPolicy) {
		return err
	}
	return fmt.Errorf("%w: %w", h.unserved, err)
}

// helloKey finds the place for a connection's ClientHello in its context.
type helloKey struct{}

// dropped is what Caddy has for a client whose policy says that it be dropped.
const dropped = "dropping connection"

// captureHello makes a configuration, which all connections share, leave each one's ClientHello
// in its context, and has a client that no policy is for learn of it: by the alert
// unrecognized_name (RFC 6066 section 3) if policies go by names and it has sent one, in place
// of internal_error. crypto/tls sends that alert where there is no certificate at all.
func captureHello(config *tls.Config, byName bool) {
	choose, nobody := config.GetConfigForClient, new(tls.Config)
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		growStack(len(hello.ServerName))
		place, ok := hello.Context().Value(helloKey{}).(*clientHello)
		if ok {
			place.infos[0].ClientHelloInfo = *hello
		}
		chosen, err := choose(hello)
		if err == nil || err.Error() == dropped {
			return chosen, err
		}
		err = fmt.Errorf("%w: server name %q", errNoPolicy, hello.ServerName) // Caddy's shows all of the ClientHello
		if !ok || !byName || hello.ServerName == "" {
			return nil, err
		}
		place.unserved = err
		return nobody, nil
	}
}

// goByName reports whether any policy is for certain names. Provision forgets that.
func goByName(policies caddytls.ConnectionPolicies) bool {
	for _, policy := range policies {
		for matcher := range policy.MatchersRaw {
			if strings.HasPrefix(matcher, "sni") {
				return true
			}
		}
	}
	return false
}
