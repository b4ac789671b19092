package l4starttls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"
	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// A watch is what a handler has for looking at its sessions: metrics, logs and events.
type watch struct {
	kind     sessionKind
	metrics  *kindMetrics
	logger   *zap.Logger
	access   *string // the name of the access log, if there is to be one
	upstream string  // the upstream's address, where there is but one
	notices  *notices
}

// newWatch makes one for a handler that is being provisioned. It loads the app, which ends
// sessions when the process ends; a handler that no configuration has loaded has none.
func newWatch(ctx caddy.Context, kind sessionKind, access *string, upstream string) (*watch, error) {
	if err := checkLogName(access); err != nil {
		return nil, err
	}
	if len(ctx.Modules()) > 0 {
		if _, err := loadApp(ctx); err != nil {
			return nil, err
		}
	}
	return &watch{
		kind: kind, metrics: metrics.expect(kind), logger: ctx.Logger(), access: access, upstream: upstream, notices: newNotices(),
	}, nil
}

// A watched is a session that is watched.
type watched struct {
	*session
	watch  *watch
	report report // guarded by mu

	seat *seat // among the connections of its client, until the negotiation is over

	tally *tally // of a session that is nothing else; only for upstreams

	early bool // the backend is there before the upgrade, which may come later
	told  bool // what came of the negotiation is counted; guarded by mu
	later bool // the session goes on when the handler has returned

	loginNoted, violationNoted, distrustNoted bool

	once sync.Once // for the end
}

// begin has a handler begin with a connection.
func (w *watch) begin(cx *layer4.Connection) *watched {
	s := sessions.begin(cx.Context, w.kind, base(cx))
	return &watched{session: s, watch: w, report: report{
		handler: w.kind.handler, protocol: w.kind.protocol, remote: cx.RemoteAddr(), upstream: w.upstream,
	}}
}

// negotiated notes what has come of the negotiation, once.
func (s *watched) negotiated(conn *upgrade.Conn, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told {
		return
	}
	s.told = true
	if conn != nil {
		s.report.told = conn.Outcome()
		if s.watch.access != nil {
			s.report.tls = tlsState(conn)
		}
	}
	switch {
	case err != nil:
		s.report.outcome, s.report.err = failure(err), err
	case conn == nil:
		s.report.outcome = outcomeCleartext // it was not asked for the upgrade up to its end
	default:
		s.report.outcome = success(conn)
	}
	if s.report.outcome != outcomeCancel { // which has the backend without TLS, and counts until its end
		s.seat.negotiated()
	}
	s.watch.metrics.negotiated(s.report.outcome, s.report.told)
}

// tlsState is that of a connection's TLS, or nil.
func tlsState(conn *upgrade.Conn) *tls.ConnectionState {
	state, ok := conn.TLSConnectionState()
	if !ok {
		return nil
	}
	return &state
}

// serveJoined notes the session that a negotiation has led to. It may be all that is left
// of the connection in here, so it must not keep that.
func (s *watched) serveJoined(joined *upgrade.Joined, raw bool) {
	if raw {
		s.serve(joined.Account(), nil)
		return
	}
	held := weak.Make(joined)
	s.serve(joined.Account(), func(until time.Time) error {
		if joined := held.Value(); joined != nil {
			return joined.Shutdown(until)
		}
		return nil
	})
}

// goOn has the session end later than the handler: it was not the next handler that was
// called, but the next route or a listener wrapper, which comes when we have returned.
func (s *watched) goOn(joined *upgrade.Joined) {
	s.later = true
	joined.Account().WhenOver(s.over)
	runtime.AddCleanup(joined, func(s *watched) { s.over() }, s) // if nobody has ended it properly
}

// returned is for the handler's return.
func (s *watched) returned() {
	if !s.later {
		s.over()
	}
}

// over ends the session, once. Its entry is written first: who stops the process waits for
// the session.
func (s *watched) over() {
	s.once.Do(func() {
		s.negotiated(nil, nil) // if nothing has come of it yet
		s.seat.leave()
		if s.watch.access != nil {
			s.logAccess()
		}
		s.end()
	})
}

func (s *watched) logAccess() {
	carried := s.traffic()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.duration = time.Since(s.began)
	s.report.carried = carried
	if s.account != nil {
		s.report.ending = s.account.Ending()
	}
	if at := s.report.ending.At; s.later && !at.IsZero() {
		s.report.duration = at.Sub(s.began)
	}
	logAccess(*s.watch.access, &s.report)
}

// fields are those of what is logged of a connection.
func (s *watched) fields(err error) []zap.Field {
	fields := []zap.Field{zap.String("remote", s.report.remote.String()), zap.String("protocol", s.report.protocol)}
	if s.report.upstream != "" {
		fields = append(fields, zap.String("upstream", s.report.upstream))
	}
	if err != nil {
		fields = append(fields, zap.String("error", escaped(err.Error())))
	}
	return fields
}

// joined notes what has come of a client's negotiation, unless it has yet to come.
func (s *watched) joined(joined *upgrade.Joined, err error) {
	conn := joined.Conn()
	err = s.negotiation.hello.explained(err)
	if err != nil || !s.early || conn.Outcome().ImplicitTLS {
		s.negotiated(conn, err)
	}
	if err == nil {
		s.serveJoined(joined, s.report.outcome == outcomePassthrough)
	}
	s.noteLogin(joined)
	s.noteMissing(err)
	s.noteDistrust(err)
}

// handedOver is for when the next handler has returned, with its error.
func (s *watched) handedOver(joined *upgrade.Joined, err error) {
	if why := s.negotiation.hello.explained(joined.Err()); why != nil {
		s.negotiated(joined.Conn(), why)
		s.noteMissing(why)
		s.noteDistrust(why)
	}
	account := joined.Account()
	ending := account.Ending()
	s.noteLogin(joined)
	s.noteDistrust(ending.Err)
	switch {
	case isViolation(ending.Err):
		s.noteViolation(ending.Err)
	case err == nil && joined.BackendRefused(): // an error is logged by others
		s.watch.notices.log(s.watch.logger, zap.WarnLevel, "backend refused to serve a client, or did not greet", s.fields(nil)...)
	case err == nil && ending.By == upgrade.ByNobody && account.FromClient() == 0 && account.FromBackend() == 0:
		s.goOn(joined)
	}
}

// noteViolation is for what only attacks do.
func (s *watched) noteViolation(err error) {
	if s.violationNoted {
		return
	}
	s.violationNoted = true
	message := "ended connection: plaintext behind the upgrade request"
	if errors.Is(err, dialogue.ErrAmbiguousEnd) {
		message = "ended connection: a message whose end servers would see in different places"
	}
	s.watch.notices.log(s.watch.logger, zap.InfoLevel, message, s.fields(err)...)
	emit(eventViolation, map[string]any{
		"remote": s.report.remote.String(), "handler": s.report.handler, "protocol": s.report.protocol, "error": escaped(err.Error()),
	})
}

// noteLogin is for a user who should change a password, and the settings of a client.
func (s *watched) noteLogin(joined *upgrade.Joined) {
	if s.loginNoted || !joined.TriedLogin() {
		return
	}
	s.loginNoted = true
	s.watch.notices.log(s.watch.logger, zap.InfoLevel,
		"client tried to log in before TLS, so its password may have been sent in plaintext and should be changed", s.fields(nil)...)
}

// noteDistrust is for a client that does not trust our certificate, which may say so when the
// handshake is over.
func (s *watched) noteDistrust(err error) {
	if !s.distrustNoted && errors.Is(err, upgrade.ErrDistrusted) {
		s.distrustNoted = true
		s.watch.notices.log(s.watch.logger, zap.InfoLevel, "client does not trust the certificate", s.fields(err)...)
	}
}

// noteMissing is for an administrator whose server has no certificate, or none for the name
// that a client asks for.
func (s *watched) noteMissing(err error) {
	if errors.Is(err, errNoPolicy) {
		s.watch.notices.log(s.watch.logger, zap.InfoLevel, "no connection policy for a client", s.fields(err)...)
	}
	if errors.Is(err, errNoCertificate) {
		s.watch.notices.log(s.watch.logger, zap.WarnLevel, "no certificate to serve a client with", s.fields(err)...)
	}
}

// markMissing tells a handshake that fails for want of a certificate from all others.
func markMissing(config *tls.Config) {
	get := config.GetCertificate
	config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := get(hello)
		if err != nil {
			err = fmt.Errorf("%w: %w", errNoCertificate, err)
		}
		return cert, err
	}
}
