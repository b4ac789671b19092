package l4starttls

import (
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// Handler accepts the upgrade to TLS that a client asks for in the middle of a
// plaintext conversation, terminates TLS, and passes the secured stream on.
//
// Before TLS it answers everything itself and refuses everything but the upgrade,
// in the protocol's own words; nothing upstream is dialled. After TLS a backend
// that starts afresh is reconciled with the client, which is past the greeting
// already. Protocols that need the backend before the upgrade are the exception: mysql,
// whose greeting is the backend's, tds, whose answer to the request is in part, and line, whose
// plaintext belongs to the application.
//
// The first hostname is the server's name in greetings, and its certificate is what
// a client gets that sends no SNI.
type Handler struct {
	// The protocol to speak, by the name that it has in upgrade.Protocols. Required.
	Protocol string `json:"protocol"`

	// The names of the server. Caddy manages certificates for all of them, as it
	// does for the names of sites. Default: none, and certificates are whatever
	// the TLS app has; if that is nothing, there is a warning at start.
	Hostnames []string `json:"hostnames,omitempty"`

	// What becomes of a client that does not upgrade. `required` refuses it.
	// `optional` serves it in plaintext, once it sends what only the backend can
	// answer; anybody on the way can make a client do that. Default: `required`, but
	// `optional` for the line protocol, whose plaintext belongs to the application.
	Policy string `json:"policy,omitempty"`

	// Lets a client that `optional` serves in plaintext send its password in plaintext as
	// well.
	AllowPlaintextAuth bool `json:"allow_plaintext_auth,omitempty"`

	// Also accept a client that begins with a ClientHello. Where the server speaks
	// first, its greeting waits that long for one. Default: off.
	ImplicitTLS caddy.Duration `json:"implicit_tls,omitempty"`

	// How TLS is established, as in the tls handler. ALPN defaults to the ids that
	// belong to the protocol.
	ConnectionPolicies caddytls.ConnectionPolicies `json:"connection_policies,omitempty"`

	// Negotiate, then leave the raw TLS to the handlers that follow.
	Passthrough bool `json:"passthrough,omitempty"`

	// How long the whole plaintext phase may take, and a backend's greeting after
	// it. Default: `1m`.
	NegotiationTimeout caddy.Duration `json:"negotiation_timeout,omitempty"`

	// How long the TLS handshake may take. Default: `15s`.
	HandshakeTimeout caddy.Duration `json:"handshake_timeout,omitempty"`

	// What a client may do before TLS. See Limits for the defaults.
	Limits *Limits `json:"limits,omitempty"`

	// The text behind the hostname in the greeting, where the protocol has room
	// for it.
	Greeting string `json:"greeting,omitempty"`

	// What is advertised before TLS beside the upgrade itself. Default: the protocol's own.
	Capabilities []string `json:"capabilities,omitempty"`

	// Where the Caddyfile has this handler, for errors. The adapter sets it.
	Source string `json:"source,omitempty"`

	// Writes an entry for each session, to the logger `layer4.starttls.access` or, if this
	// is not empty, the one of that name below it. Default: none.
	Log *string `json:"log,omitempty"`

	// The options of the protocol alone, by name: see upgrade.Protocol. In JSON they stand
	// beside the others: `command` and `reply` for the line protocol.
	Options protocolOptions `json:"-"`

	logger  *zap.Logger
	proto   *upgrade.Protocol
	config  *upgrade.Config
	watch   *watch
	clients *clientLimits // nil if no client is limited
	warned  onceOnly      // by text
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "layer4.handlers.starttls", New: func() caddy.Module { return new(Handler) }}
}

// Provision sets up the handler.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := h.provision(ctx); err != nil {
		return placed(err, h.Source)
	}
	return checkRoute(ctx, h.logger)
}

func (h *Handler) provision(ctx caddy.Context) error {
	if err := h.checkPlaceholders(); err != nil {
		return err
	}
	upstream := staticUpstream(ctx, h) // before anything is changed
	h.replacePlaceholders()
	if err := h.check(); err != nil {
		return err
	}
	var err error
	if h.Hostnames, err = asciiHostnames(h.Hostnames); err != nil {
		return err
	}
	h.warnOfUse()
	if h.watch, err = newWatch(ctx, sessionKind{starttlsHandler, h.proto.Name}, h.Log, upstream); err != nil {
		return err
	}
	options := withDataHost(h.proto, h.Options, upstream)
	warnOfDataHost(h.logger, h.Source, h.proto, options, h.Passthrough)
	h.config = &upgrade.Config{
		Greeting:           h.Greeting,
		Capabilities:       h.Capabilities,
		Options:            options,
		Optional:           h.Policy == "optional" || h.Policy == "" && h.proto.PlaintextByDefault,
		PlaintextAuth:      h.AllowPlaintextAuth,
		ImplicitTLS:        h.ImplicitTLS > 0,
		ImplicitTLSDelay:   time.Duration(h.ImplicitTLS),
		Passthrough:        h.Passthrough,
		NegotiationTimeout: time.Duration(h.NegotiationTimeout),
		HandshakeTimeout:   time.Duration(h.HandshakeTimeout),
		Limits:             h.Limits.bounds(),
		Warn:               h.warn,
	}
	h.limitClients()
	if len(h.Hostnames) > 0 {
		h.config.Hostname, h.config.Hostnames = h.Hostnames[0], h.Hostnames
	}
	if h.Passthrough {
		return nil
	}
	return h.provisionTLS(ctx)
}

// replacePlaceholders resolves those that are known at start, such as {env.NAME}.
func (h *Handler) replacePlaceholders() {
	repl := caddy.NewReplacer()
	for _, s := range []*string{&h.Protocol, &h.Greeting} {
		*s = repl.ReplaceAll(*s, "")
	}
	h.Options = h.Options.resolved(repl)
	h.Hostnames = slices.Clone(h.Hostnames)
	for i := range h.Hostnames {
		h.Hostnames[i] = repl.ReplaceAll(h.Hostnames[i], "")
	}
	h.Limits = h.Limits.replacePlaceholders()
}

// warn logs what an administrator should change, once for each configuration.
func (h *Handler) warn(message string) {
	if h.warned.first(message) {
		h.logger.Warn(message, zap.String("protocol", h.proto.Name))
	}
}

// Handle negotiates the upgrade with the client, does the TLS handshake, and calls
// the next handler with the secured connection.
func (h *Handler) Handle(cx *layer4.Connection, next layer4.Handler) error {
	if why := h.misplaced(cx); why != "" {
		h.warn(why)
		return nil
	}
	s := h.watch.begin(cx)
	s.early = h.proto.EarlyDial
	defer s.returned()
	if !h.admit(cx, s) {
		return nil
	}
	s.negotiation.hello = new(clientHello)
	joined, err := upgrade.Join(&s.negotiation, takeOver(cx), h.proto, h.config)
	s.joined(joined, err)
	if err != nil {
		h.logRefusal(cx, s, err)
		return nil
	}
	h.note(cx, s, joined)
	return h.handOver(cx, s, joined, next)
}

// note leaves what is known of the client where others look for it.
func (h *Handler) note(cx *layer4.Connection, s *watched, joined *upgrade.Joined) {
	conn := joined.Conn()
	switch {
	case h.proto.EarlyDial && !conn.Outcome().ImplicitTLS:
		joined.Upgraded = func() {
			s.negotiated(conn, nil)
			h.record(cx, conn, s.negotiation.hello)
		}
		h.setPlaceholders(cx, conn)
	case conn.Outcome().CancelRequest:
		h.setPlaceholders(cx, conn)
		h.debug("passing on a request to cancel, in plaintext", cx, conn)
	case conn.Outcome().Cleartext:
		h.setPlaceholders(cx, conn)
		h.debug("client stays in plaintext", cx, conn)
	case h.Passthrough:
		h.setPlaceholders(cx, conn)
		h.debug("negotiated upgrade, passing TLS through", cx, conn)
	default:
		h.record(cx, conn, s.negotiation.hello)
	}
}

// handOver calls the next handler, and sees to what it leaves behind. That is nothing
// if the next one is a route or a listener wrapper: those come when we have returned.
func (h *Handler) handOver(cx *layer4.Connection, s *watched, joined *upgrade.Joined, next layer4.Handler) error {
	err := next.Handle(cx.Wrap(joined))
	joined.Returned(err)
	s.handedOver(joined, err)
	if why := joined.Err(); why != nil {
		h.logRefusal(cx, s, why)
		return nil
	}
	return err
}

// record leaves on the connection what other modules read of a terminated TLS.
func (h *Handler) record(cx *layer4.Connection, conn *upgrade.Conn, hello *clientHello) {
	state, _ := conn.TLSConnectionState()
	recordTLS(cx, hello, &state)
	h.setPlaceholders(cx, conn)
	if h.logger.Core().Enabled(zap.DebugLevel) {
		h.debug("negotiated upgrade", cx, conn,
			zap.String("server_name", state.ServerName),
			zap.String("version", tls.VersionName(state.Version)),
			zap.Bool("resumed", state.DidResume))
	}
}

// debug logs an event of a connection. It makes no fields of an entry that is not written.
func (h *Handler) debug(message string, cx *layer4.Connection, conn *upgrade.Conn, more ...zap.Field) {
	if entry := h.logger.Check(zap.DebugLevel, message); entry != nil {
		entry.Write(append([]zap.Field{
			zap.String("remote", cx.RemoteAddr().String()),
			zap.String("protocol", h.proto.Name),
			zap.String("hello", conn.Outcome().Hello),
		}, more...)...)
	}
}

// logRefusal keeps the noise of the internet at the debug level, but for what only
// an attack does.
func (h *Handler) logRefusal(cx *layer4.Connection, s *watched, err error) {
	message := "ended connection before TLS"
	switch {
	case isViolation(err):
		s.noteViolation(err)
		return
	case errors.Is(err, upgrade.ErrQuit):
		message = "client quit before TLS"
	}
	if entry := h.logger.Check(zap.DebugLevel, message); entry != nil {
		entry.Write(zap.String("remote", cx.RemoteAddr().String()), zap.String("protocol", h.proto.Name), zap.Error(s.negotiation.hello.explained(err)))
	}
}

// setPlaceholders sets {l4.starttls.*}.
func (h *Handler) setPlaceholders(cx *layer4.Connection, conn *upgrade.Conn) {
	setValues(cx.Replacer(), "l4.starttls.", ownNames, func(field string) (any, bool) {
		switch field {
		case "protocol":
			return h.proto.Name, true
		case "server_name":
			return serverName(conn), true
		case "hello":
			return conn.Outcome().Hello, true
		}
		return nil, false
	})
}

// ownNames are those of {l4.starttls.*}.
var ownNames = []string{"l4.starttls.protocol", "l4.starttls.server_name", "l4.starttls.hello"}

// serverName is the host that the client has asked for, by SNI or else in plaintext.
func serverName(conn *upgrade.Conn) string {
	if state, ok := conn.TLSConnectionState(); ok && state.ServerName != "" {
		return state.ServerName
	}
	return conn.Outcome().ServerName
}

// Interface guards
var (
	_ caddy.Provisioner  = (*Handler)(nil)
	_ layer4.NextHandler = (*Handler)(nil)
)
