package l4starttls

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/l4starttls/caddy-l4-starttls/probe"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// newTarget finds what is wrong with the command line before anybody is asked.
func newTarget(flags caddycmd.Flags, args []string) (t probe.Target, err error) {
	t.Timeout = flags.Duration("timeout")
	t.ImplicitTLS, t.Hello = flags.Bool("implicit"), flags.String("hello")
	t.TLSA, t.Versions, t.PEM = flags.Bool("tlsa"), flags.Bool("tls-versions"), flags.Bool("pem")
	t.Expiry = time.Duration(flags.Int("warn-days")) * 24 * time.Hour
	t.Options = ownOptions(flags)
	if t.Protocol, err = upgrade.Lookup(args[0]); err != nil {
		return t, err
	}
	for _, set := range []func(*probe.Target, caddycmd.Flags) error{
		func(t *probe.Target, flags caddycmd.Flags) error { return setHost(t, flags, args[1:]) },
		checkTarget, setProxyProtocol, setFamily, setFiles, setResolver,
	} {
		if err := set(&t, flags); err != nil {
			return t, err
		}
	}
	return t, nil
}

// setHost has the host and the port, which --mx has instead.
func setHost(t *probe.Target, flags caddycmd.Flags, hosts []string) (err error) {
	port := t.Protocol.Port
	if t.ImplicitTLS {
		port = t.Protocol.ImplicitPort
	}
	domain, name := flags.String("mx"), flags.String("server-name")
	switch {
	case domain != "" && (len(hosts) > 0 || name != ""):
		return errors.New("--mx has the mail servers of the domain probed, each by its own name: leave out the host and --server-name")
	case domain != "":
		t.Port = strconv.Itoa(int(port))
		return checkHostname("--mx", domain)
	case len(hosts) == 0:
		return errors.New("no host to probe, and no --mx")
	}
	if t.Host, t.Port, err = probeAddress(hosts[0], port); err != nil {
		return fmt.Errorf("address %q: %w", hosts[0], err)
	}
	t.ServerName = cmp.Or(name, nameOf(t.Host))
	return checkHostname("server name", t.ServerName)
}

// checkTarget finds what does not go with the protocol.
func checkTarget(t *probe.Target, flags caddycmd.Flags) error {
	mail := flags.String("mx") + flags.String("mta-sts") + flags.String("mta-sts-domain")
	switch {
	case t.Protocol.Request == nil:
		return fmt.Errorf("protocol %q cannot be requested", t.Protocol.Name)
	case t.Timeout <= 0:
		return fmt.Errorf("timeout %s: must be positive", t.Timeout)
	case t.Expiry < 0:
		return fmt.Errorf("--warn-days %d: must not be negative", flags.Int("warn-days"))
	case t.Hello != "" && !t.Protocol.Introduces:
		return fmt.Errorf("--hello has no effect with protocol %q, whose clients do not tell their names", t.Protocol.Name)
	case t.Hello != "" && !validHostname(t.Hello):
		return checkHostname("--hello", t.Hello)
	case mail != "" && t.Protocol != upgrade.SMTP:
		return errors.New("--mx, --mta-sts and --mta-sts-domain are for mail servers, and so for smtp alone")
	case flags.String("mta-sts") != "" && flags.String("mta-sts-domain") != "":
		return errors.New("--mta-sts and --mta-sts-domain are two policies; give one of them")
	}
	return t.Protocol.CheckOptions(t.Options, true)
}

// setProxyProtocol has the version of the header.
func setProxyProtocol(t *probe.Target, flags caddycmd.Flags) error {
	switch version := flags.String("proxy-protocol"); version {
	case "":
	case "v1":
		t.ProxyProtocol = 1
	case "v2":
		t.ProxyProtocol = 2
	default:
		return fmt.Errorf("--proxy-protocol %q: must be v1 or v2", version)
	}
	return nil
}

// setFamily has addresses of one family, or of both.
func setFamily(t *probe.Target, flags caddycmd.Flags) error {
	four, six := flags.Bool("ipv4"), flags.Bool("ipv6")
	switch {
	case four && six:
		return errors.New("-4 and -6 leave no address; give one of them")
	case four:
		t.Network = "ip4"
	case six:
		t.Network = "ip6"
	}
	return nil
}

// setFiles reads what is in files.
func setFiles(t *probe.Target, flags caddycmd.Flags) (err error) {
	if file := flags.String("ca"); file != "" {
		if t.Roots, err = readRoots(file); err != nil {
			return err
		}
	}
	switch cert, key := flags.String("cert"), flags.String("key"); {
	case (cert == "") != (key == ""):
		return errors.New("--cert and --key belong together")
	case cert != "":
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("reading the client's certificate: %w", err)
		}
		t.Certificate = &pair
	}
	if domain := flags.String("mta-sts-domain"); domain != "" {
		return checkHostname("--mta-sts-domain", domain)
	}
	file := flags.String("mta-sts")
	if file == "" {
		return nil
	}
	text, err := os.ReadFile(file) //nolint:gosec // the user's own choice
	if err != nil {
		return fmt.Errorf("reading the MTA-STS policy: %w", err)
	}
	if t.Policy, err = probe.ParsePolicy(file, string(text)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// setResolver has the DNS server, at port 53 if it has none.
func setResolver(t *probe.Target, flags caddycmd.Flags) error {
	address := flags.String("resolver")
	if address == "" {
		return nil
	}
	host, port, err := probeAddress(address, 53)
	if err != nil {
		return fmt.Errorf("--resolver %q: %w", address, err)
	}
	t.Resolver = &probe.Resolver{Server: net.JoinHostPort(host, port)}
	return nil
}

func readRoots(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file) //nolint:gosec // the user's own choice
	if err != nil {
		return nil, fmt.Errorf("reading CA certificates: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading CA certificates: no certificate in %q", file)
	}
	return roots, nil
}

// probeAddress splits host:port. Without a port, an IPv6 address may have brackets
// or not.
func probeAddress(address string, otherwise uint16) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), ""
		if _, err := netip.ParseAddr(host); err != nil && (host != address || strings.Contains(host, ":")) {
			return "", "", errors.New("must be <host> or <host>:<port>")
		}
	}
	if port == "" && otherwise != 0 {
		port = strconv.Itoa(int(otherwise))
	}
	switch {
	case !validHostname(nameOf(host)):
		return "", "", errors.New("must begin with a domain name or an IP address")
	case port == "":
		return "", "", errors.New("a port is required, since the protocol has none of its own")
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return "", "", fmt.Errorf("unknown port %q", port)
	}
	return host, port, nil
}

// nameOf is the host as certificates have it: without the dot that ends a domain
// name, and without the zone of an IPv6 address.
func nameOf(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.WithZone("").String()
	}
	return strings.TrimSuffix(host, ".")
}
