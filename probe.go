package l4starttls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// How a probe ends.
const (
	probeVerified    = "verified"
	probeUnverified  = "unverified"
	probeRefused     = "refused"
	probeNotOffered  = "not offered"
	probeUnreachable = "unreachable"
	probeFailed      = "failed"
)

// A prober asks one server for an upgrade. It believes nothing of what it is told.
type prober struct {
	proto          *upgrade.Protocol
	host, port     string
	serverName     string
	roots          *x509.CertPool // nil: the system's
	timeout        time.Duration  // of the whole
	command, reply string
}

// probe ends with ctx. Whatever happens, it is in the report.
func (p *prober) probe(ctx context.Context) *probeReport {
	r := &probeReport{
		Protocol:   p.proto.Name,
		Address:    net.JoinHostPort(p.host, p.port),
		ServerName: p.serverName,

		PlaintextLogin: "unknown",
	}
	if err := p.reach(ctx, r); err != nil {
		r.Outcome, r.Error = p.outcome(ctx, err)
	}
	return r
}

// reach goes from one phase to the next, for as long as that goes well.
func (p *prober) reach(ctx context.Context, r *probeReport) error {
	var addresses []netip.AddrPort
	err := timed(&r.Times.Resolve, func() (err error) {
		addresses, err = p.resolve(ctx)
		return err
	})
	if err != nil {
		return err
	}
	var raw net.Conn
	err = timed(&r.Times.Connect, func() (err error) {
		raw, err = r.connect(ctx, addresses)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }()
	return p.upgrade(ctx, raw, r)
}

// timed measures a phase.
func timed(took **milliseconds, phase func() error) error {
	begun := time.Now()
	err := phase()
	d := milliseconds(time.Since(begun))
	*took = &d
	return err
}

func (p *prober) resolve(ctx context.Context) (addresses []netip.AddrPort, err error) {
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", p.port)
	if err != nil {
		return nil, &unreachableError{err}
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", p.host)
	if err != nil {
		return nil, &unreachableError{err}
	}
	for _, addr := range found {
		addresses = append(addresses, netip.AddrPortFrom(addr.Unmap(), uint16(port))) //nolint:gosec // a port
	}
	return addresses, nil
}

// connect tries one address after the other, and gives each its share of the time
// that is left: one that drops packets must not use up all of it.
func (r *probeReport) connect(ctx context.Context, addresses []netip.AddrPort) (net.Conn, error) {
	var err error
	for i, address := range addresses {
		var conn net.Conn
		conn, err = dialShare(ctx, address, len(addresses)-i)
		r.Tried = append(r.Tried, newProbeAttempt(address, err))
		if err == nil {
			return conn, nil
		}
	}
	if len(addresses) > 1 {
		err = fmt.Errorf("none of %d addresses answers", len(addresses))
	}
	return nil, &unreachableError{err}
}

func dialShare(ctx context.Context, address netip.AddrPort, left int) (net.Conn, error) {
	dialer := new(net.Dialer)
	if deadline, ok := ctx.Deadline(); ok {
		dialer.Timeout = time.Until(deadline) / time.Duration(left)
	}
	return dialer.DialContext(ctx, "tcp", address.String())
}

// upgrade does both phases on an open connection. The handshake does not verify:
// the chain is to be shown even if it is a bad one, and is verified afterwards.
func (p *prober) upgrade(ctx context.Context, raw net.Conn, r *probeReport) error {
	config := &upgrade.Config{
		TLS:                &tls.Config{ServerName: p.serverName, InsecureSkipVerify: true}, //nolint:gosec // see verify
		Command:            p.command,
		Reply:              p.reply,
		NegotiationTimeout: p.timeout,
		HandshakeTimeout:   p.timeout,
	}
	heard := &eavesdropper{Conn: raw}
	var conn *upgrade.Conn
	err := timed(&r.Times.Negotiate, func() (err error) {
		conn, err = upgrade.RequestPlaintext(ctx, heard, p.proto, config)
		return err
	})
	r.Dialogue = heard.stop()
	if offered, known := conn.PlaintextLogin(); known {
		r.PlaintextLogin = yesNo(offered)
	}
	if err != nil {
		return err
	}
	if err := timed(&r.Times.Handshake, func() error { return conn.StartTLS(ctx) }); err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	state, _ := conn.TLSConnectionState()
	p.judge(&state, r)
	return nil
}

// judge reports on a connection that is up.
func (p *prober) judge(state *tls.ConnectionState, r *probeReport) {
	now := time.Now()
	r.TLS = newProbeTLS(state)
	for _, cert := range state.PeerCertificates {
		r.Certificates = append(r.Certificates, newProbeCertificate(cert, now))
	}
	r.Verification = p.verify(state.PeerCertificates, now)
	r.Outcome = probeUnverified
	if r.Verification.Verified {
		r.Outcome = probeVerified
	}
}

// verify looks for a chain and at the name apart, so that a server with two problems
// hears of both.
func (p *prober) verify(chain []*x509.Certificate, now time.Time) *probeVerification {
	if len(chain) == 0 { // TLS does not let that happen
		return &probeVerification{Problems: []string{"no certificate"}}
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: p.roots, Intermediates: intermediates, CurrentTime: now})
	v := new(probeVerification)
	for _, err := range []error{err, chain[0].VerifyHostname(p.serverName)} {
		if err != nil {
			v.Problems = append(v.Problems, err.Error())
		}
	}
	v.Verified = len(v.Problems) == 0
	return v
}

// unreachableError is in front of why there is no connection.
type unreachableError struct{ error }

// Unwrap returns the reason.
func (e *unreachableError) Unwrap() error { return e.error }

// outcome sorts what went wrong before TLS was up, and says it.
func (p *prober) outcome(ctx context.Context, err error) (outcome, text string) {
	var unreachable *unreachableError
	switch {
	case errors.Is(err, upgrade.ErrNotOffered):
		return probeNotOffered, err.Error()
	case errors.Is(err, upgrade.ErrRefused):
		return probeRefused, err.Error()
	case errors.As(err, &unreachable):
		return probeUnreachable, err.Error()
	case isTimeout(err), ctx.Err() != nil:
		return probeUnreachable, fmt.Sprintf("no answer within %s", p.timeout)
	}
	return probeFailed, err.Error()
}

func isTimeout(err error) bool {
	return errors.Is(err, upgrade.ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded)
}
