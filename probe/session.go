package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// Bounds of what comes when TLS is up, or the server has said that it will not be: neither is
// what the probe is for.
const (
	inquiryTime = 3 * time.Second
	quitTime    = time.Second
	alertTime   = 300 * time.Millisecond // for a server that may not like that it got no certificate
)

// How it is with the client's certificate: the values of Report.ClientCertificate.
const (
	certificateNotAsked = "not asked for"
	certificateAsked    = "asked for"
	certificateSent     = "sent"
	certificateRequired = "required"
)

// config is for one connection. The handshake does not verify: the chain is to be shown even if
// it is a bad one, and is verified afterwards.
func (p *prober) config(r *Report) *upgrade.Config {
	config := &tls.Config{ServerName: p.ServerName, InsecureSkipVerify: true} //nolint:gosec // see judge
	if p.ImplicitTLS {
		config.NextProtos = p.Protocol.ALPN[:min(1, len(p.Protocol.ALPN))]
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if p.Certificate == nil {
			r.ClientCertificate = certificateAsked
			return new(tls.Certificate), nil
		}
		r.ClientCertificate = certificateSent
		return p.Certificate, nil
	}
	return &upgrade.Config{
		TLS:                config,
		Hostname:           p.Hello,
		Options:            p.Options,
		Passthrough:        true,
		NegotiationTimeout: p.Timeout,
		HandshakeTimeout:   p.Timeout,
	}
}

// upgrade does both phases on an open connection.
func (p *prober) upgrade(ctx context.Context, raw net.Conn, r *Report) (*upgrade.Conn, error) {
	config := p.config(r)
	heard := &eavesdropper{Conn: raw, secrets: p.Protocol.Concealed(p.Options), stopped: p.ImplicitTLS}
	defer func() { r.heard = heard.heard }()
	conn := upgrade.Client(heard, config)
	if !p.ImplicitTLS {
		err := timed(&r.Times.Negotiate, func() (err error) {
			conn, err = upgrade.Request(ctx, heard, p.Protocol, config)
			return err
		})
		r.Dialogue = heard.stop()
		if o := conn.Outcome(); o.PlaintextLoginKnown {
			r.PlaintextLogin = yesNo(o.PlaintextLogin)
		}
		if errors.Is(err, upgrade.ErrNotOffered) || errors.Is(err, upgrade.ErrRefused) {
			p.quit(raw)
		}
		if err != nil {
			return nil, err
		}
	}
	err := timed(&r.Times.Handshake, func() error { return conn.StartTLS(ctx) })
	if err == nil && r.ClientCertificate == "" {
		r.ClientCertificate = certificateNotAsked
	}
	return conn, err
}

// inquire asks the server inside TLS what it can do, and takes its leave. In TLS 1.3 that is
// also when a server says that it wants a certificate (RFC 8446 section 4.4.2.4).
func (p *prober) inquire(ctx context.Context, conn *upgrade.Conn, r *Report) {
	deadline := time.Now().Add(min(inquiryTime, p.Timeout))
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = conn.SetDeadline(deadline)
	var err error
	switch {
	case p.Protocol.Inquire != nil:
		options := &dialogue.Options{
			Hostname: cmp.Or(p.Hello, "localhost"), PeerName: p.ServerName, Declared: p.Protocol.Options, Own: p.Options,
		}
		r.Capabilities, err = p.Protocol.Inquire(dialogue.NewSession(p.Protocol, options, conn, conn, true), !p.ImplicitTLS)
		if err != nil {
			r.CapabilitiesError = err.Error()
		}
	case r.ClientCertificate == certificateAsked:
		_ = conn.SetReadDeadline(time.Now().Add(alertTime))
		_, err = conn.Read(make([]byte, 1))
	}
	if isAlert(err, alertCertificateRequired) {
		r.ClientCertificate = certificateRequired
	}
	if err == nil || isTimeout(err) {
		p.quit(conn)
	}
}

// quit takes leave in the protocol's words, and hears the server out.
func (p *prober) quit(conn net.Conn) {
	if p.Protocol.Quit == "" {
		return
	}
	_ = conn.SetDeadline(time.Now().Add(quitTime))
	if _, err := io.WriteString(conn, p.Protocol.Quit); err == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(conn, maxFarewell))
	}
}

// maxFarewell bounds what is heard of a server that is taken leave of.
const maxFarewell = 64 << 10

// Alerts of RFC 8446 section 6.2.
const (
	alertInternalError       tls.AlertError = 80
	alertUnrecognizedName    tls.AlertError = 112
	alertCertificateRequired tls.AlertError = 116
)

// isAlert reports whether the peer has sent an alert. crypto/tls keeps the number to itself.
func isAlert(err error, alert tls.AlertError) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error" && strings.Contains(remote.Err.Error(), alert.Error())
}
