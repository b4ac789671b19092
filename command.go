package l4starttls

import (
	"context"
	"io"
	"os"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/l4starttls/caddy-l4-starttls/probe"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "starttls-probe",
		Usage: "PROTOCOL HOST[:PORT] [--implicit] [--json] [--insecure] [--server-name NAME] [--ca FILE] [--timeout DURATION] " +
			"[--all-addresses] [--mx DOMAIN] [--tlsa] [--mta-sts FILE] [--tls-versions] [--warn-days N]",
		Short:     "Asks a server for an upgrade to TLS and reports what it finds",
		Long:      probeHelp,
		CobraFunc: setUpProbe,
	})
}

var probeHelp = `
Connects to a server, asks it for the upgrade to TLS as a client of the protocol
would, does the TLS handshake, and reports what was said in plaintext, the TLS
parameters, the certificate chain, whether it verifies, whether the server lets
clients log in without TLS, what it says inside TLS that it can do, and how long each
phase took. It never logs in. With --implicit, TLS begins with the first byte.

The protocol is one of: ` + protocolNames(requestable) + `.
Without a port, the protocol's own is used, or with --implicit that of its TLS.

The chain is verified against the system's roots, or those of --ca alone, and
against the host, or the name of --server-name. That name is also what the server
is asked for, by SNI and in XMPP. With --tlsa it is verified against the TLSA records
that are published for host and port instead (DANE). That takes DNSSEC, of which the
command knows what the DNS server says, and validates nothing itself: use a resolver
that validates, on this machine or by a way that you trust. With --mta-sts or
--mta-sts-domain, host and certificate must also be as an MTA-STS policy has them.

With --mx all mail servers of a domain are probed, and with --all-addresses all
addresses of a host; the exit status is the highest of theirs.

What the server says is printed with control characters escaped, and bytes that are
not text in hexadecimal, behind C# and S#.

The exit status is
  0  if TLS is up and the certificate verifies; with --insecure, if TLS is up
  1  if the command was not used as it should be
  4  if TLS is up, but the certificate does not verify
  5  if the server does not offer the upgrade, or refuses it
  6  if the server is not reached, or the time of --timeout is over
  7  if the server turns us away or breaks off, breaks the protocol, or fails at TLS
  8  if all is well, but a certificate expires within --warn-days
`

// Exit statuses. Caddy itself uses 1 to 3, and Go 2.
var probeStatus = map[string]int{
	probe.Verified:    0,
	probe.Unverified:  4,
	probe.Refused:     5,
	probe.NotOffered:  5,
	probe.Unreachable: 6,
	probe.TimedOut:    6,
	probe.Failed:      7,
}

const expiresSoon = 8 // the exit status of a warning

// setUpProbe has the flags of the command.
func setUpProbe(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetNormalizeFunc(withHyphens)
	flags.Bool("implicit", false, "Begin with TLS, and ask for nothing in plaintext")
	flags.String("server-name", "", "Name to ask for and to verify (default: the host)")
	flags.String("ca", "", "PEM file with the roots to trust (default: the system's)")
	flags.Bool("insecure", false, "Exit with 0 even if the certificate does not verify")
	flags.String("cert", "", "PEM file with the client's certificate, for servers that ask for one")
	flags.String("key", "", "PEM file with its key")
	flags.String("hello", "", "Our own name, in protocols in which a client tells it (default: localhost)")
	flags.String("proxy-protocol", "", "Send a PROXY protocol header first, of version v1 or v2, for servers that wait for one")
	flags.BoolP("ipv4", "4", false, "Connect to IPv4 addresses alone")
	flags.BoolP("ipv6", "6", false, "Connect to IPv6 addresses alone")
	flags.Bool("all-addresses", false, "Probe every address of the host, not just the first that answers")
	flags.String("mx", "", "Probe the mail servers of this domain, in place of a host")
	flags.String("resolver", "", "DNS server to ask, with its port if that is not 53 (default: the system's)")
	flags.Bool("tlsa", false, "Verify by the TLSA records that are published for host and port")
	flags.String("mta-sts", "", "File with an MTA-STS policy that the server must satisfy")
	flags.String("mta-sts-domain", "", "Domain whose published MTA-STS policy the server must satisfy")
	flags.Bool("tls-versions", false, "Find out which versions of TLS the server accepts, with a connection for each")
	flags.Int("warn-days", 0, "Exit with 8 if a certificate of the chain expires within so many days")
	flags.Bool("pem", false, "Print the certificates as PEM, too")
	flags.Bool("json", false, "Print one JSON object (default: text)")
	flags.Duration("timeout", 10*time.Second, "Time for the whole probe of a server")
	addOwnFlags(flags, false)
	setUpUsage(cmd, "PROTOCOL HOST[:PORT]", 1, 2)
	cmd.Example = "  $ caddy starttls-probe smtp mail.example.com:587\n" +
		"  $ caddy starttls-probe imap mail.example.com --implicit --warn-days 14\n" +
		"  $ caddy starttls-probe imap 192.0.2.1 --server-name mail.example.com --json\n" +
		"  $ caddy starttls-probe smtp --mx example.com --tlsa --mta-sts-domain example.com"
	cmd.ValidArgsFunction = completeProtocol(requestable)
	for _, name := range []string{"ca", "cert", "key", "mta-sts"} {
		_ = cmd.MarkFlagFilename(name)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flags := caddycmd.Flags{FlagSet: cmd.Flags()}
		target, err := newTarget(flags, args)
		if err != nil {
			return usageError(cmd, err)
		}
		status, err := runProbe(cmd.Context(), cmd.OutOrStdout(), target, flags)
		if err != nil {
			return err
		}
		cmd.SilenceErrors = true // the report says it all
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })(cmd, args)
	}
}

// A writer is a report, or several.
type writer interface {
	WriteText(out io.Writer) error
	WriteColor(out io.Writer) error
	WriteJSON(out io.Writer) error
}

func runProbe(ctx context.Context, out io.Writer, target probe.Target, flags caddycmd.Flags) (status int, err error) {
	if domain := flags.String("mta-sts-domain"); domain != "" {
		fetching, cancel := context.WithTimeout(ctx, target.Timeout)
		defer cancel()
		target.Policy = probe.FetchPolicy(fetching, target.Resolver, target.Roots, domain)
	}
	found, status := probeAll(ctx, target, flags.String("mx"), flags.Bool("all-addresses"), flags.Bool("insecure"))
	return status, show(found, out, flags.Bool("json"))
}

// probeAll probes one server, or several, and has the highest of their statuses.
func probeAll(ctx context.Context, target probe.Target, domain string, all, insecure bool) (found writer, status int) {
	s := new(probe.Summary)
	switch {
	case domain != "":
		s = probe.RunMX(ctx, target, domain, all)
	case all:
		s.Reports = probe.RunAll(ctx, target)
	default:
		r := probe.Run(ctx, target)
		return r, statusOf(r, insecure)
	}
	if len(s.Reports) == 0 {
		return s, probeStatus[probe.Unreachable]
	}
	for _, r := range s.Reports {
		status = max(status, statusOf(r, insecure))
	}
	return s, status
}

// statusOf is what the command exits with.
func statusOf(r *probe.Report, insecure bool) int {
	status := probeStatus[r.Outcome]
	if r.Outcome == probe.Unverified && insecure {
		status = 0
	}
	if status == 0 && r.Warning != "" {
		return expiresSoon
	}
	return status
}

// show prints what was found. Only a terminal gets colours, and only if nobody minds
// (https://no-color.org).
func show(found writer, out io.Writer, json bool) error {
	file, ok := out.(*os.File)
	switch {
	case json:
		return found.WriteJSON(out)
	case ok && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb":
		return found.WriteColor(out)
	}
	return found.WriteText(out)
}
