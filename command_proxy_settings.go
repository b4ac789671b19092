package l4starttls

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Values of --upstream-tls.
const (
	upstreamUpgrade  = "starttls"
	upstreamImplicit = "implicit"
)

// proxySettings are what the flags of starttls-proxy say.
type proxySettings struct {
	protocol  *upgrade.Protocol
	hostnames []string // to have certificates for
	listen    []string
	upstreams []string

	plaintext, optional, implicitTLS bool

	upstreamTLS, upstreamName, upstreamCA string

	sendProxyProtocol, internalCerts, accessLog, debug bool

	ours, theirs protocolOptions // the protocol's own, of starttls and of starttls_upstream
}

// newProxySettings finds what is wrong with the command line, in its own terms.
func newProxySettings(flags caddycmd.Flags, protocol string) (*proxySettings, error) {
	p := &proxySettings{
		optional: flags.Bool("optional"), implicitTLS: flags.Bool("implicit-tls"), plaintext: flags.Bool("plaintext"),
		upstreamTLS: flags.String("upstream-tls"), upstreamName: flags.String("upstream-server-name"), upstreamCA: flags.String("upstream-ca"),
		sendProxyProtocol: flags.Bool("send-proxy-protocol"), internalCerts: flags.Bool("internal-certs"),
		accessLog: flags.Bool("access-log"), debug: flags.Bool("debug"),
	}
	var err error
	if p.protocol, err = upgrade.Lookup(protocol); err != nil {
		return nil, err
	}
	if !acceptable(p.protocol) {
		return nil, fmt.Errorf("protocol %q cannot be accepted, only requested from an upstream", protocol)
	}
	from, _ := flags.GetStringArray("from")
	to, _ := flags.GetStringArray("to")
	for _, check := range []func() error{
		func() error { return p.setFrom(from) },
		func() error { return p.setTo(to) },
		p.check,
		p.checkUpstream,
		func() error { return p.setOwn(ownOptions(flags)) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// setFrom has the names of the server, and where it listens. Domain names are of all the
// machine's addresses, since the name's own may be that of a router.
func (p *proxySettings) setFrom(from []string) error {
	if len(from) == 0 {
		return errors.New("--from is required: the host to have a certificate for, and the port")
	}
	for _, address := range from {
		host, port, err := splitAddress(address, p.protocol.Port)
		if err != nil {
			return fmt.Errorf("--from %q: %w", address, err)
		}
		p.hostnames = append(p.hostnames, host)
		at := ""
		if _, err := netip.ParseAddr(host); err == nil || isLocalhost(host) {
			at = host
		}
		p.listen = append(p.listen, net.JoinHostPort(at, port))
	}
	p.hostnames, p.listen = withoutRepeats(p.hostnames), withoutRepeats(p.listen)
	return nil
}

func (p *proxySettings) setTo(to []string) error {
	if len(to) == 0 {
		return errors.New("--to is required: the server to pass connections on to")
	}
	for _, address := range to {
		if err := checkWritable(address); err != nil {
			return fmt.Errorf("--to %q: %w", address, err)
		}
		if network, err := caddy.ParseNetworkAddress(address); err == nil && network.IsUnixNetwork() {
			p.upstreams = append(p.upstreams, address)
			continue
		}
		host, port, err := splitAddress(address, p.protocol.Port)
		if err != nil {
			return fmt.Errorf("--to %q: %w", address, err)
		}
		p.upstreams = append(p.upstreams, net.JoinHostPort(host, port))
	}
	p.upstreams = withoutRepeats(p.upstreams)
	return nil
}

func isLocalhost(host string) bool {
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return isLocalhost(host) || err == nil && addr.IsLoopback()
}

// check finds flags that do not go together.
func (p *proxySettings) check() error {
	switch {
	case p.implicitTLS && !p.protocol.TakesImplicitTLS():
		return fmt.Errorf("--implicit-tls does not go with protocol %q, whose backend is needed before the upgrade", p.protocol.Name)
	case p.plaintext && p.upstreamTLS == "":
		return errors.New("--plaintext is for servers that demand TLS: it needs --upstream-tls")
	case p.plaintext && (p.optional || p.implicitTLS || p.internalCerts):
		return errors.New("--plaintext does without TLS towards clients, so --optional, --implicit-tls and --internal-certs have no effect; leave them out")
	case p.plaintext && slices.ContainsFunc(p.hostnames, func(host string) bool { return !isLoopback(host) }):
		return fmt.Errorf("--from %s: with --plaintext it must be localhost or a loopback address, since passwords cross it in plaintext", strings.Join(p.hostnames, ", "))
	case p.sendProxyProtocol && p.protocol.EarlyDial:
		return fmt.Errorf("--send-proxy-protocol does not go with protocol %q, whose backend is dialled before there is TLS to tell it of", p.protocol.Name)
	}
	return nil
}

// checkUpstream completes what is known of the upstream's certificate.
func (p *proxySettings) checkUpstream() error {
	switch {
	case p.upstreamTLS == "" && (p.upstreamName != "" || p.upstreamCA != ""):
		return errors.New("--upstream-server-name and --upstream-ca are for --upstream-tls, without which they have no effect")
	case p.upstreamTLS == "":
		return nil
	case p.upstreamTLS != upstreamUpgrade && p.upstreamTLS != upstreamImplicit:
		return fmt.Errorf("--upstream-tls %q: must be %s or %s, behind an equals sign", p.upstreamTLS, upstreamUpgrade, upstreamImplicit)
	case p.upstreamTLS == upstreamUpgrade && p.protocol.Request == nil:
		return fmt.Errorf("protocol %q cannot be requested from an upstream, only accepted", p.protocol.Name)
	}
	if p.upstreamCA != "" {
		_, err := readRoots(p.upstreamCA)
		if err := cmp.Or(checkWritable(p.upstreamCA), err); err != nil {
			return fmt.Errorf("--upstream-ca: %w", err)
		}
		p.upstreamCA, _ = filepath.Abs(p.upstreamCA) // the Caddyfile may be run elsewhere
	}
	if p.upstreamName != "" {
		return checkHostname("--upstream-server-name", p.upstreamName)
	}
	var names []string
	for _, upstream := range p.upstreams {
		host, _, err := net.SplitHostPort(upstream)
		if err != nil {
			return fmt.Errorf("--to %s has no name to verify a certificate against; set --upstream-server-name", upstream)
		}
		names = append(names, host)
	}
	if names = withoutRepeats(names); len(names) > 1 {
		return fmt.Errorf("--to has several names to verify a certificate against, %s; set --upstream-server-name to the one in it", strings.Join(names, ", "))
	}
	p.upstreamName = names[0]
	return nil
}

// setOwn gives the protocol's own options to the handler that has a use for them.
func (p *proxySettings) setOwn(own protocolOptions) error {
	p.ours, p.theirs = protocolOptions{}, protocolOptions{}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if err := cmp.Or(checkWritable(own[name]), p.setOption(name, own[name])); err != nil {
			return fmt.Errorf("--%s: %w", flagName(name), err)
		}
	}
	return nil
}

// checkWritable finds what no token of a Caddyfile can have in it.
func checkWritable(text string) error {
	if strings.Contains(text, "{$") || strings.ContainsAny(text, "`\n") {
		return errors.New("must not contain \"{$\", backquotes or line ends, which mean something else in a Caddyfile")
	}
	return nil
}

// ofClientsAlone are options that both handlers have, and that mean clients: of data
// connections between the two nobody else knows.
var ofClientsAlone = []string{dialogue.DataPortsOption, dialogue.DataAddressOption}

// setOption gives one option to those who take it.
func (p *proxySettings) setOption(name, value string) error {
	one := protocolOptions{name: value}.resolved(caddy.NewReplacer())
	toClients := !p.plaintext && slices.Contains(p.protocol.OptionNames(false), name)
	toUpstream := slices.Contains(p.protocol.OptionNames(true), name)
	if toClients {
		p.ours[name] = value
		if err := p.protocol.CheckOptions(one, false); err != nil {
			return err
		}
	}
	switch {
	case toUpstream && p.upstreamTLS == upstreamUpgrade && (!toClients || !slices.Contains(ofClientsAlone, name)):
		p.theirs[name] = value
		return p.protocol.CheckOptions(one, true)
	case toUpstream && !toClients:
		return errors.New("it is for the upgrade of an upstream, and so needs --upstream-tls")
	case !toClients:
		return cmp.Or(p.protocol.CheckOptions(one, false), errors.New("it is for clients that ask for an upgrade, whom --plaintext does without"))
	}
	return nil
}

func flagName(option string) string { return strings.ReplaceAll(option, "_", "-") }

// splitAddress has a host and a port, which is the protocol's own if there is none.
func splitAddress(address string, otherwise uint16) (host, port string, err error) {
	host, port, err = probeAddress(address, otherwise)
	return strings.ToLower(nameOf(host)), port, err
}
