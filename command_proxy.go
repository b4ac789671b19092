package l4starttls

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "starttls-proxy",
		Usage: "PROTOCOL --from HOST[:PORT] --to HOST[:PORT] [--optional] [--implicit-tls] [--plaintext] " +
			"[--upstream-tls[=implicit]] [--send-proxy-protocol] [--internal-certs] [--access-log] [--debug] [--print-config]",
		Short:     "A quick and production-ready STARTTLS proxy",
		Long:      proxyHelp,
		CobraFunc: setUpProxy,
	})
}

var proxyHelp = `
Takes clients of a protocol at --from, upgrades them to TLS when they ask for it
(STARTTLS, STLS, SSLRequest and so on), and passes the decrypted stream on to --to.

The certificate for the host of --from is obtained and renewed by Caddy: from a
public CA, for which the host must be reachable at port 80 or 443, or from Caddy's
own CA for localhost, for IP addresses, and with --internal-certs.

The protocol is one of: ` + protocolNames(acceptable) + `.
Without a port, --from and --to have the protocol's own.

With a domain name in --from, Caddy listens at all addresses of the machine; with an
IP address or localhost, at that one alone. Both --from and --to may be repeated: the
hosts of --from are names of one server, and one of --to is chosen at random for each
connection.

A client that does not ask for TLS is refused. With --optional it is served in
plaintext, as a public mail server must do at port 25 (RFC 3207 section 4).

The way to --to is in plaintext. --upstream-tls asks that server for the upgrade as
well, and verifies its certificate; --upstream-tls=implicit begins with TLS there.
With --plaintext nothing is asked of clients: for software that knows no TLS, in
front of a server that demands it.

An option of one protocol alone, such as --command of line, is refused for others.

With --print-config the Caddyfile of what would run is printed, and nothing runs.
'caddy run' does the same with it, and it is the place to go on from.
`

const proxyExamples = `  $ caddy starttls-proxy smtp --from mail.example.com:587 --to localhost:10587
  $ caddy starttls-proxy imap --from mail.example.com:143 --from mail.example.com:993 --implicit-tls --to localhost:10143
  $ caddy starttls-proxy smtp --from mx.example.com:25 --to 10.0.0.5:25 --optional --send-proxy-protocol
  $ caddy starttls-proxy postgres --from db.example.com --to 10.0.0.5 --upstream-tls --upstream-server-name db.internal
  $ caddy starttls-proxy ldap --from localhost:1389 --to ldap.example.com --plaintext --upstream-tls
  $ caddy starttls-proxy line --from localhost:7000 --to localhost:7001 --command STARTTLS --reply OK
  $ caddy starttls-proxy smtp --from mail.example.com:587 --to localhost:10587 --print-config > Caddyfile`

// setUpProxy has the flags of the command.
func setUpProxy(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SetNormalizeFunc(withHyphens)
	flags.StringArrayP("from", "f", nil, "Where clients connect, and the name to have a certificate for; repeatable")
	flags.StringArrayP("to", "t", nil, "Where the decrypted stream goes; repeatable")
	flags.Bool("optional", false, "Serve clients that do not ask for TLS in plaintext (WARNING: no protection from an active attacker)")
	flags.Bool("implicit-tls", false, "Also take clients that begin with TLS")
	flags.Bool("plaintext", false, "Take clients in plaintext, from this machine alone; with --upstream-tls")
	flags.String("upstream-tls", "", "Have TLS on the way to --to: starttls, after the protocol's upgrade (what the flag means by itself), or implicit, from the first byte")
	flags.Lookup("upstream-tls").NoOptDefVal = upstreamUpgrade
	flags.String("upstream-server-name", "", "Name in the certificate of --to (default: its host)")
	flags.String("upstream-ca", "", "PEM file with the roots to trust for --to, in place of the system's")
	flags.Bool("send-proxy-protocol", false, "Put a PROXY protocol header, version 2, in front of what goes to --to")
	flags.BoolP("internal-certs", "i", false, "Use Caddy's own CA for the certificate")
	flags.Bool("access-log", false, "Log an entry for each session")
	flags.BoolP("debug", "v", false, "Enable verbose debug logs")
	flags.Bool("print-config", false, "Print the Caddyfile of what would run, and run nothing")
	addOwnFlags(flags, true)
	setUpUsage(cmd, "PROTOCOL", 1, 1)
	cmd.Example = proxyExamples
	cmd.ValidArgsFunction = completeProtocol(acceptable)
	_ = cmd.MarkFlagFilename("upstream-ca")
	_ = cmd.RegisterFlagCompletionFunc("upstream-tls", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{upstreamUpgrade, upstreamImplicit}, cobra.ShellCompDirectiveNoFileComp
	})
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		flags := caddycmd.Flags{FlagSet: cmd.Flags()}
		settings, err := newProxySettings(flags, args[0])
		if err != nil {
			return usageError(cmd, err)
		}
		config, adapted, err := settings.config()
		if err != nil {
			return usageError(cmd, err)
		}
		if flags.Bool("print-config") {
			_, err := io.WriteString(cmd.OutOrStdout(), config)
			return err
		}
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return settings.run(adapted) })(cmd, args)
	}
}

// withHyphens lets flags be spelt as the options that they are named after.
func withHyphens(_ *pflag.FlagSet, name string) pflag.NormalizedName {
	return pflag.NormalizedName(flagName(name))
}

// acceptable reports whether clients of a protocol can be served.
func acceptable(p *upgrade.Protocol) bool { return p.Accept != nil || p.EarlyDial }

// completeProtocol completes the first argument; hosts are anybody's guess.
func completeProtocol(which func(*upgrade.Protocol) bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return strings.Split(protocolNames(which), ", "), cobra.ShellCompDirectiveNoFileComp
	}
}

// run runs what the Caddyfile of the settings has been adapted to, and nothing else.
func (p *proxySettings) run(adapted json.RawMessage) (int, error) {
	caddy.TrapSignals()
	if err := caddy.Load(adapted, true); err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	caddy.Log().Info("caddy proxying", zap.String("protocol", p.protocol.Name),
		zap.Strings("from", p.listen), zap.Strings("hostnames", p.hostnames), zap.Strings("to", p.upstreams))
	select {} // until a signal ends the process
}

// config is the Caddyfile of the settings, and what it adapts to.
func (p *proxySettings) config() (caddyfile string, adapted json.RawMessage, err error) {
	caddyfile = p.caddyfile()
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return "", nil, errors.New("this Caddy has no Caddyfile adapter")
	}
	adapted, _, err = adapter.Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return "", nil, fmt.Errorf("%w\nin the Caddyfile of the command:\n%s", err, caddyfile)
	}
	return caddyfile, adapted, nil
}

// addOwnFlags has a flag for every option that belongs to one protocol alone.
func addOwnFlags(flags *pflag.FlagSet, session bool) {
	usages := ownUsages(session)
	for _, name := range slices.Sorted(maps.Keys(usages)) {
		flags.String(name, "", usages[name])
	}
}

// ownUsages has what the options of protocols are for, by name: of those for a session as
// well, or for a probe alone. Protocols may share a name.
func ownUsages(session bool) map[string]string {
	usages := map[string]string{}
	for _, p := range upgrade.Protocols() {
		for _, o := range p.Options {
			if !session && (o.Session || o.Server) {
				continue
			}
			usage := fmt.Sprintf("%s; %s: %s", usages[o.Name], p.Name, o.Usage)
			if o.Default != "" {
				usage += ", " + o.Default + " by default"
			}
			usages[o.Name] = strings.TrimPrefix(usage, "; ")
		}
	}
	return usages
}

// ownOptions are those that belong to one protocol alone, and are set.
func ownOptions(flags caddycmd.Flags) protocolOptions {
	own := protocolOptions{}
	for name := range allOptions() {
		if flag := flags.Lookup(name); flag != nil && flag.Value.String() != "" {
			own[name] = flag.Value.String()
		}
	}
	return own
}

// withoutRepeats keeps the first of each.
func withoutRepeats(values []string) (kept []string) {
	for _, v := range values {
		if !slices.Contains(kept, v) {
			kept = append(kept, v)
		}
	}
	return kept
}
