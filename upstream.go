package l4starttls

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// Upstream asks the upstream that the next handlers reach for an upgrade to TLS,
// originates TLS, and joins it with the connection from downstream, which meets
// what looks like a fresh server in plaintext that has no upgrade to offer.
//
// It dials nothing itself: the next handler, usually `proxy` with its load balancing
// and health checks, is given a connection whose other end this handler holds.
// Nothing from downstream goes upstream before the upstream's certificate is
// verified. If that fails, downstream is told in the words of the protocol, and
// none of what the upstream said in plaintext.
type Upstream struct {
	// The protocol to speak, by the name that it has in upgrade.Protocols. Required.
	Protocol string `json:"protocol"`

	// What becomes of an upstream that does not offer the upgrade. `required` refuses
	// it. `optional` stays in plaintext, on the same connection; anybody on the way can
	// make it seem so. An upstream that offers the upgrade and then fails at it is
	// refused all the same. With XMPP the stream must be for the domain that is
	// tls_server_name: others are refused with host-unknown. Default: `required`.
	Policy string `json:"policy,omitempty"`

	// Negotiate, then leave TLS to downstream, whose next bytes must be a
	// ClientHello. The upstream is not dialled before they are there.
	Passthrough bool `json:"passthrough,omitempty"`

	// How long the whole plaintext phase may take, dialling included. An upstream that speaks
	// first inside TLS as well has it once more to begin. Default: `1m`.
	NegotiationTimeout caddy.Duration `json:"negotiation_timeout,omitempty"`

	// How long the TLS handshake may take, and the wait for a ClientHello to pass through.
	// Default: that of `tls`, or else `15s`.
	HandshakeTimeout caddy.Duration `json:"handshake_timeout,omitempty"`

	// What the upstream may say before TLS: `message`, `bytes` and `idle` of Limits.
	Limits *Limits `json:"limits,omitempty"`

	// Our own name in SMTP and LMTP. Default: `localhost`.
	Hostname string `json:"hostname,omitempty"`

	// How TLS is established, as in the proxy handler. The server name is required,
	// unless certificates are not verified or TLS is passed through; it may have
	// placeholders. In XMPP it is also the domain that is asked for in plaintext.
	TLS *reverseproxy.TLSConfig `json:"tls,omitempty"`

	// The ALPN ids to offer. `[]` offers none. Default: the first of those that belong to
	// the protocol. Some servers refuse a client that offers more than one, such as Exim.
	ALPN []string `json:"alpn,omitzero"`

	// Where the Caddyfile has this handler, for errors. The adapter sets it.
	Source string `json:"source,omitempty"`

	// Writes an entry for each session, to the logger `layer4.starttls.access` or, if this
	// is not empty, the one of that name below it. Default: none.
	Log *string `json:"log,omitempty"`

	// The options of the protocol alone, by name: see upgrade.Protocol. In JSON they stand
	// beside the others: `command` and `reply` for the line protocol.
	Options protocolOptions `json:"-"`

	logger *zap.Logger
	proto  *upgrade.Protocol
	config *upgrade.Config // but for the server's name
	watch  *watch
	expiry *expiryUse // nil if there is no name to know the certificate's expiry by
	warned onceOnly   // by text
}

// CaddyModule returns the Caddy module information.
func (*Upstream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.starttls_upstream", New: func() caddy.Module { return new(Upstream) }}
}

// Provision sets up the handler.
func (u *Upstream) Provision(ctx caddy.Context) error {
	u.logger = ctx.Logger()
	if err := u.provision(ctx); err != nil {
		return placed(err, u.Source)
	}
	return checkRoute(ctx, u.logger)
}

func (u *Upstream) provision(ctx caddy.Context) error {
	if err := u.checkPlaceholders(); err != nil {
		return err
	}
	upstream := staticUpstream(ctx, u) // before anything is changed
	repl := caddy.NewReplacer()
	u.Protocol, u.Hostname = repl.ReplaceAll(u.Protocol, ""), repl.ReplaceAll(u.Hostname, "")
	u.Options = u.Options.resolved(repl)
	if u.TLS == nil {
		u.TLS = new(reverseproxy.TLSConfig)
	}
	if err := u.check(); err != nil {
		return err
	}
	options := withDataHost(u.proto, u.Options, upstream)
	warnOfDataHost(u.logger, u.Source, u.proto, options, u.Passthrough)
	u.config = &upgrade.Config{
		Warn:               u.warn,
		Hostname:           u.Hostname,
		Options:            options,
		Optional:           u.Policy == "optional",
		Limits:             u.Limits.bounds(),
		Passthrough:        u.Passthrough,
		NegotiationTimeout: time.Duration(u.NegotiationTimeout),
		HandshakeTimeout:   time.Duration(max(u.HandshakeTimeout, u.TLS.HandshakeTimeout)), // one of them at most
	}
	var err error
	if u.watch, err = newWatch(ctx, sessionKind{upstreamHandler, u.proto.Name}, u.Log, upstream); err != nil {
		return err
	}
	if u.TLS.ServerName != "" && !u.Passthrough {
		u.expiry = metrics.expiry.use(u.TLS.ServerName)
	}
	u.config.TLS, err = u.clientTLS(ctx)
	return err
}

// Cleanup implements caddy.CleanerUpper.
func (u *Upstream) Cleanup() error {
	u.expiry.release()
	return nil
}

// check finds what is wrong with a configuration before anything listens.
func (u *Upstream) check() (err error) {
	if u.Protocol == "" {
		return fmt.Errorf("no protocol; must be one of: %s", protocolNames(requestable))
	}
	if u.proto, err = upgrade.Lookup(u.Protocol); err != nil {
		return err
	}
	if err := checkPolicy(u.Policy); err != nil {
		return err
	}
	if u.proto.Request == nil {
		return fmt.Errorf("protocol %q cannot be requested from an upstream, only accepted", u.Protocol)
	}
	if err := u.proto.CheckOptions(u.Options.resolved(caddy.NewReplacer()), true); err != nil {
		return err
	}
	if u.Hostname != "" {
		if err := checkHostname("hostname", u.Hostname); err != nil {
			return err
		}
	}
	if err := u.checkUse(); err != nil {
		return err
	}
	return u.checkOptions()
}

func (u *Upstream) checkOptions() error {
	verifies := !u.Passthrough && !u.TLS.InsecureSkipVerify
	switch {
	case verifies && u.TLS.ServerName == "":
		return errors.New("no tls_server_name to verify the upstream's certificate against")
	case u.Passthrough && u.configuresTLS():
		return errors.New("passthrough leaves TLS to downstream, so no tls option but tls_server_name has an effect")
	case u.Passthrough && u.proto.HandshakePackets != nil:
		return fmt.Errorf("protocol %q cannot be passed through: its TLS handshake is inside packets of its own", u.Protocol)
	case u.Passthrough && u.Policy == "optional":
		return errors.New("policy optional does not go with passthrough: downstream has begun TLS by then")
	case len(u.TLS.ExceptPorts) > 0:
		return errors.New("except_ports has no effect: the upgrade is asked for at any port")
	case u.HandshakeTimeout != 0 && u.TLS.HandshakeTimeout != 0:
		return errors.New("handshake_timeout and tls_timeout are the same; set one of them")
	}
	return errors.Join(checkData(u.proto, u.Options, u.Passthrough), checkDuration("negotiation_timeout", u.NegotiationTimeout),
		checkDuration("handshake_timeout", min(u.HandshakeTimeout, u.TLS.HandshakeTimeout)),
		u.Limits.checkUpstream(), u.Limits.check(u.NegotiationTimeout))
}

// configuresTLS reports whether anything beside the server's name is set.
func (u *Upstream) configuresTLS() bool {
	return u.ALPN != nil || !reflect.DeepEqual(*u.TLS, reverseproxy.TLSConfig{ServerName: u.TLS.ServerName})
}

// Handle has the next handler reach the upstream, upgrades to it, and joins it with
// downstream.
func (u *Upstream) Handle(cx *layer4.Connection, next layer4.Handler) error {
	if why := u.misplaced(cx); why != "" {
		u.warn(why)
		return nil
	}
	s := u.watch.begin(cx)
	defer s.returned()
	err := u.serve(cx, s, next)
	s.served(err)
	return err
}

// serve is Handle with its session.
func (u *Upstream) serve(cx *layer4.Connection, s *watched, next layer4.Handler) error {
	down := prefixconn.New(takeOver(cx), nil)
	config, err := u.configFor(cx)
	if err != nil {
		return u.reject(down, err, config)
	}
	s.report.asked = config.TLS.ServerName
	if u.Passthrough {
		switch o := outcomeBelow(cx); {
		case o.CancelRequest:
			s.negotiated(nil, nil)
			s.servePassedThrough(&tally{closeWriter: down})
			return u.passPlaintext(cx, s.tally, next)
		case o.Cleartext:
			return errNoTLSToPass
		}
		s.servePassedThrough(&tally{closeWriter: down})
		if begun, err := u.awaitHello(cx, down); !begun {
			return err
		}
	}
	up := startNext(cx, next)
	defer up.wait(cx)
	u.tellJoined(cx, u.Policy != "optional")
	conn, err := upgrade.RequestFor(&s.negotiation, up.ours, down, u.proto, config)
	u.expiry.see(conn, err)
	switch {
	case err == nil && u.Passthrough:
		s.negotiated(conn, nil)
		u.logger.Debug("negotiated upgrade with upstream, passing TLS through", u.fields(cx)...)
		up.join(s.tally, up.ours)
		return nil
	case err == nil:
		s.negotiated(conn, nil)
		u.logNegotiated(cx, conn)
		u.tellJoined(cx, !conn.Outcome().Cleartext)
		joined := upgrade.ServeUpgraded(down, conn)
		s.serveJoined(joined, false)
		up.join(joined, conn)
		joined.Returned(nil)
		return nil
	}
	return u.failed(s, up, conn, err)
}

var errNoTLSToPass = errors.New("upgrading upstream: downstream is in plaintext, and passthrough has no TLS to pass")

// outcomeBelow is what has come of the client's negotiation with `starttls`, if there was one.
func outcomeBelow(cx *layer4.Connection) upgrade.Outcome {
	if joined, ok := findBelow[*upgrade.Joined](cx); ok {
		return joined.Conn().Outcome()
	}
	return upgrade.Outcome{}
}

// awaitHello waits for the beginning of downstream's ClientHello. An upstream that
// has consented must get nothing else, such as what a client says that `starttls`
// lets stay in plaintext.
func (u *Upstream) awaitHello(cx *layer4.Connection, down *prefixconn.Conn) (begun bool, err error) {
	const recordTypeHandshake = 0x16
	timeout := cmp.Or(time.Duration(u.HandshakeTimeout), upgrade.DefaultHandshakeTimeout)
	if err := down.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return false, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(down, first); err != nil {
		u.logger.Debug("downstream did not begin TLS", append(u.fields(cx), zap.Error(err))...)
		return false, nil
	}
	down.Unread(first)
	if first[0] != recordTypeHandshake {
		return false, errNoTLSToPass
	}
	return true, down.SetReadDeadline(time.Time{})
}

// passPlaintext joins downstream and an upstream that is not asked for TLS.
func (u *Upstream) passPlaintext(cx *layer4.Connection, down closeWriter, next layer4.Handler) error {
	up := startNext(cx, next)
	up.join(down, up.ours)
	up.wait(cx)
	return up.err
}

// warn logs what an administrator should change, once for each configuration.
func (u *Upstream) warn(message string) {
	if u.warned.first(message) {
		u.logger.Warn(message, zap.String("protocol", u.proto.Name))
	}
}

// Interface guards
var (
	_ caddy.CleanerUpper = (*Upstream)(nil)
	_ caddy.Provisioner  = (*Upstream)(nil)
	_ layer4.NextHandler = (*Upstream)(nil)
)
