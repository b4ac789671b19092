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
	"strconv"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/l4starttls/caddy-l4-starttls/probe"
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
would, does the TLS handshake, and reports what was said in plaintext, the TLS
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
	probe.Verified:    0,
	probe.Unverified:  4,
	probe.Refused:     5,
	probe.NotOffered:  5,
	probe.Unreachable: 6,
	probe.Failed:      7,
}

// setUpProbe has the flags of the command.
func setUpProbe(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetNormalizeFunc(withHyphens)
	flags.Bool("json", false, "Print one JSON object")
	flags.Bool("insecure", false, "Exit with 0 even if the certificate does not verify")
	flags.String("server-name", "", "Name to ask for and to verify (default: the host)")
	flags.String("ca", "", "PEM file with the roots to trust, in place of the system's")
	flags.Duration("timeout", 10*time.Second, "Time for the whole probe")
	addOwnFlags(flags, false)
	cmd.Args = cobra.ExactArgs(2)
	cmd.Example = "  caddy starttls-probe smtp mail.example.com:587\n" +
		"  caddy starttls-probe imap 192.0.2.1 --server-name mail.example.com --json"
	cmd.ValidArgsFunction = completeProtocol(requestable)
	_ = cmd.MarkFlagFilename("ca")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		run := caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			return runProbe(cmd.Context(), cmd.OutOrStdout(), flags, args)
		})
		cmd.SilenceErrors = true // the report says it all
		return run(cmd, args)
	}
}

func runProbe(ctx context.Context, out io.Writer, flags caddycmd.Flags, args []string) (int, error) {
	target, err := newTarget(flags, args[0], args[1])
	if err != nil {
		return 1, err
	}
	r := probe.Run(ctx, target)
	write := r.WriteText
	if flags.Bool("json") {
		write = r.WriteJSON
	}
	if err := write(out); err != nil {
		return 1, err
	}
	if r.Outcome == probe.Unverified && flags.Bool("insecure") {
		return 0, nil
	}
	return probeStatus[r.Outcome], nil
}

// newTarget finds what is wrong with the command line before anybody is asked.
func newTarget(flags caddycmd.Flags, protocol, address string) (t probe.Target, err error) {
	t.Timeout = flags.Duration("timeout")
	if t.Protocol, err = upgrade.Lookup(protocol); err != nil {
		return t, err
	}
	if t.Host, t.Port, err = probeAddress(address, t.Protocol.Port); err != nil {
		return t, fmt.Errorf("address %q: %w", address, err)
	}
	t.ServerName = cmp.Or(flags.String("server-name"), nameOf(t.Host))
	t.Options = ownOptions(flags)
	switch {
	case t.Protocol.Request == nil:
		return t, fmt.Errorf("protocol %q cannot be requested", protocol)
	case t.Timeout <= 0:
		return t, fmt.Errorf("timeout %s: must be positive", t.Timeout)
	}
	if err := errors.Join(checkHostname("server name", t.ServerName), t.Protocol.CheckOptions(t.Options, true)); err != nil {
		return t, err
	}
	if file := flags.String("ca"); file != "" {
		t.Roots, err = readRoots(file)
	}
	return t, err
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
