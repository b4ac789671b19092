package l4starttls

import (
	"crypto/tls"
	"errors"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// servePassedThrough notes a session whose TLS is others'.
func (s *watched) servePassedThrough(t *tally) {
	s.tally = t
	s.serve(t, nil)
}

// errGone is a client that ended before it began the TLS that is passed through.
var errGone = errors.New("client ended before TLS")

// served is for the end of a session with an upstream, of which perhaps nothing has come.
func (s *watched) served(err error) {
	if err == nil {
		err = errGone
	}
	s.negotiated(nil, err)
}

// noteUpstream is for an administrator whose upstream is not as it should be.
func (s *watched) noteUpstream(err error) {
	fields := append(s.fields(err), zap.String("server_name", escaped(s.report.asked)))
	notice := func(message string) { s.watch.notices.log(s.watch.logger, zap.WarnLevel, message, fields...) }
	switch {
	case isUnverified(err):
		notice("upstream's certificate could not be verified")
		emit(eventUnverified, map[string]any{
			"remote": s.report.remote.String(), "protocol": s.report.protocol, "server_name": escaped(s.report.asked),
			"upstream": s.report.upstream, "error": escaped(err.Error()),
		})
	case errors.Is(err, upgrade.ErrDistrusted):
		notice("upstream does not trust our certificate: see to tls_client_auth")
	case errors.Is(err, upgrade.ErrExpectsTLS):
		notice("upstream seems to expect TLS from the first byte: use a port that is for the upgrade, " +
			"or the tls of proxy in place of starttls_upstream")
	case isViolation(err):
		s.noteViolation(err)
	case errors.Is(err, upgrade.ErrNotOffered), errors.Is(err, upgrade.ErrRefused):
		notice("upstream does not offer the upgrade to TLS, or refuses it")
	}
}

func (u *Upstream) logNegotiated(cx *layer4.Connection, conn *upgrade.Conn) {
	state, secure := conn.TLSConnectionState()
	if !secure {
		u.logger.Warn("upstream does not offer TLS, staying in plaintext", u.fields(cx)...)
		return
	}
	if entry := u.logger.Check(zap.DebugLevel, "upgraded upstream"); entry != nil {
		entry.Write(append(u.fields(cx),
			zap.String("server_name", state.ServerName),
			zap.String("version", tls.VersionName(state.Version)),
			zap.String("cipher_suite", tls.CipherSuiteName(state.CipherSuite)))...)
	}
}

func (u *Upstream) fields(cx *layer4.Connection) []zap.Field {
	return []zap.Field{
		zap.String("remote", cx.RemoteAddr().String()),
		zap.String("protocol", u.proto.Name),
	}
}
