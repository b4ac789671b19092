package l4starttls

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "starttls-probe",
		Usage:     "<protocol> <host>[:<port>] [--json] [--insecure] [--server-name <name>] [--ca <file>] [--timeout <duration>]",
		Short:     "Asks a server for an upgrade to TLS and reports what it finds",
		Long:      probeHelp,
		CobraFunc: setUpProbe,
	})
}

var probeHelp = `
Connects to a server, asks it for the upgrade to TLS as a client of the protocol
would, does the TLS handshake, and reports what was said in clear, the TLS
parameters, the certificate chain, whether it verifies, whether the server lets
clients log in without TLS, and how long each phase took. It never logs in.

The protocol is one of: ` + protocolNames(requestable) + `.
Without a port, the protocol's own is used.

The chain is verified against the system's roots, or those of --ca alone, and
against the host, or the name of --server-name. That name is also what the server
is asked for, by SNI and in XMPP.

What the server says is printed with control characters escaped, and bytes that are
not text in hexadecimal, behind C# and S#.

The exit status is
  0  if TLS is up and the certificate verifies; with --insecure, if TLS is up
  1  if the command was not used as it should be
  4  if TLS is up, but the certificate does not verify
  5  if the server does not offer the upgrade, or refuses it
  6  if the server is not reached, or the time of --timeout is over
  7  if the server breaks off, does not keep to the protocol, or fails at TLS
`

// Exit statuses. Caddy itself uses 1 to 3, and Go 2.
var probeStatus = map[string]int{
	probeVerified:    0,
	probeUnverified:  4,
	probeRefused:     5,
	probeNotOffered:  5,
	probeUnreachable: 6,
	probeFailed:      7,
}

// defaultPorts are for addresses that have none. SMTP's is that of mail exchangers,
// which nobody but a probe asks for TLS by hand.
var defaultPorts = map[string]string{
	"imap":     "143",
	"ldap":     "389",
	"lmtp":     "24",
	"pop3":     "110",
	"postgres": "5432",
	"sieve":    "4190",
	"smtp":     "25",
	"xmpp":     "5222",
}

// setUpProbe has the flags of the command.
func setUpProbe(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Bool("json", false, "Print one JSON object")
	flags.Bool("insecure", false, "Exit with 0 even if the certificate does not verify")
	flags.String("server-name", "", "Name to ask for and to verify (default: the host)")
	flags.String("ca", "", "PEM file with the roots to trust, in place of the system's")
	flags.Duration("timeout", 10*time.Second, "Time for the whole probe")
	flags.String("command", "", `Line that asks for the upgrade, in the line protocol (default "STARTTLS")`)
	flags.String("reply", "", "Line that grants the upgrade, in the line protocol (default: none)")
	cmd.Args = cobra.ExactArgs(2)
	cmd.Example = "  caddy starttls-probe smtp mail.example.com:587\n" +
		"  caddy starttls-probe imap 192.0.2.1 --server-name mail.example.com --json"
	cmd.ValidArgsFunction = completeProbe
	_ = cmd.MarkFlagFilename("ca")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		run := caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			return runProbe(cmd.Context(), cmd.OutOrStdout(), flags, args)
		})
		cmd.SilenceErrors = true // the report says it all
		return run(cmd, args)
	}
}

// completeProbe completes the protocol; hosts are anybody's guess.
func completeProbe(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return strings.Split(protocolNames(requestable), ", "), cobra.ShellCompDirectiveNoFileComp
}

func runProbe(ctx context.Context, out io.Writer, flags caddycmd.Flags, args []string) (int, error) {
	p, err := newProber(flags, args[0], args[1])
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	r := p.probe(ctx)
	write := r.writeText
	if flags.Bool("json") {
		write = r.writeJSON
	}
	if err := write(out); err != nil {
		return 1, err
	}
	if r.Outcome == probeUnverified && flags.Bool("insecure") {
		return 0, nil
	}
	return probeStatus[r.Outcome], nil
}

// newProber finds what is wrong with the command line before anybody is asked.
func newProber(flags caddycmd.Flags, protocol, address string) (p *prober, err error) {
	p = &prober{timeout: flags.Duration("timeout")}
	if p.proto, err = upgrade.Lookup(protocol); err != nil {
		return nil, err
	}
	if p.host, p.port, err = probeAddress(address, defaultPorts[protocol]); err != nil {
		return nil, fmt.Errorf("address %q: %w", address, err)
	}
	p.serverName = cmp.Or(flags.String("server-name"), nameOf(p.host))
	p.command, p.reply = flags.String("command"), flags.String("reply")
	switch {
	case p.proto.Request == nil:
		return nil, fmt.Errorf("protocol %q cannot be requested", protocol)
	case p.timeout <= 0:
		return nil, fmt.Errorf("timeout %s: must be positive", p.timeout)
	}
	if err := errors.Join(checkHostname("server name", p.serverName), checkLine(p.proto, p.command, p.reply)); err != nil {
		return nil, err
	}
	if file := flags.String("ca"); file != "" {
		p.roots, err = readRoots(file)
	}
	return p, err
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
func probeAddress(address, otherwise string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		host, port = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]"), ""
		if _, err := netip.ParseAddr(host); err != nil && (host != address || strings.Contains(host, ":")) {
			return "", "", errors.New("must be <host> or <host>:<port>")
		}
	}
	port = cmp.Or(port, otherwise)
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
