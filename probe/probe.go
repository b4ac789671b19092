// Package probe asks a server for an upgrade to TLS, as a client of its protocol would, and
// reports what it sees.
package probe

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

// How a probe ends: the values of Report.Outcome.
const (
	Verified    = "verified"    // TLS is up, and the certificate verifies
	Unverified  = "unverified"  // TLS is up, and the certificate does not verify
	Refused     = "refused"     // the server refused the upgrade
	NotOffered  = "not offered" // the server does not offer the upgrade
	Unreachable = "unreachable" // there was no connection, or no answer in time
	Failed      = "failed"      // the server broke off, broke the protocol, or failed at TLS
)

// A Target is the server to probe.
type Target struct {
	Protocol   *upgrade.Protocol
	Host, Port string
	ServerName string            // to ask for and to verify
	Roots      *x509.CertPool    // to trust; nil for the system's
	Timeout    time.Duration     // of the whole
	Options    map[string]string // the protocol's own
}

// Run probes a server. It ends with ctx or after the target's timeout. Whatever happens is
// in the report. It believes nothing of what it is told, and leaves nothing open.
func Run(ctx context.Context, target Target) *Report {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	p := &prober{target}
	r := &Report{
		Protocol:   p.Protocol.Name,
		Address:    net.JoinHostPort(p.Host, p.Port),
		ServerName: p.ServerName,

		PlaintextLogin: "unknown",
	}
	if err := p.reach(ctx, r); err != nil {
		r.Outcome, r.Error = p.outcome(ctx, err)
	}
	return r
}

// A prober probes one server.
type prober struct{ Target }

// reach goes from one phase to the next, for as long as that goes well.
func (p *prober) reach(ctx context.Context, r *Report) error {
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
func timed(took **Milliseconds, phase func() error) error {
	begun := time.Now()
	err := phase()
	d := Milliseconds(time.Since(begun))
	*took = &d
	return err
}

func (p *prober) resolve(ctx context.Context) (addresses []netip.AddrPort, err error) {
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", p.Port)
	if err != nil {
		return nil, &unreachableError{err}
	}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", p.Host)
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
func (r *Report) connect(ctx context.Context, addresses []netip.AddrPort) (net.Conn, error) {
	var err error
	for i, address := range addresses {
		var conn net.Conn
		conn, err = dialShare(ctx, address, len(addresses)-i)
		r.Tried = append(r.Tried, newAttempt(address, err))
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
func (p *prober) upgrade(ctx context.Context, raw net.Conn, r *Report) error {
	config := &upgrade.Config{
		TLS:                &tls.Config{ServerName: p.ServerName, InsecureSkipVerify: true}, //nolint:gosec // see verify
		Options:            p.Options,
		Passthrough:        true,
		NegotiationTimeout: p.Timeout,
		HandshakeTimeout:   p.Timeout,
	}
	heard := &eavesdropper{Conn: raw, secrets: p.Protocol.Concealed(p.Options)}
	var conn *upgrade.Conn
	err := timed(&r.Times.Negotiate, func() (err error) {
		conn, err = upgrade.Request(ctx, heard, p.Protocol, config)
		return err
	})
	r.Dialogue = heard.stop()
	if o := conn.Outcome(); o.PlaintextLoginKnown {
		r.PlaintextLogin = yesNo(o.PlaintextLogin)
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
func (p *prober) judge(state *tls.ConnectionState, r *Report) {
	now := time.Now()
	r.TLS = newTLS(state)
	for _, cert := range state.PeerCertificates {
		r.Certificates = append(r.Certificates, newCertificate(cert, now))
	}
	r.Verification = p.verify(state.PeerCertificates, now)
	r.Outcome = Unverified
	if r.Verification.Verified {
		r.Outcome = Verified
	}
}

// verify looks for a chain and at the name apart, so that a server with two problems
// hears of both.
func (p *prober) verify(chain []*x509.Certificate, now time.Time) *Verification {
	if len(chain) == 0 { // TLS does not let that happen
		return &Verification{Problems: []string{"no certificate"}}
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: p.Roots, Intermediates: intermediates, CurrentTime: now})
	v := new(Verification)
	for _, err := range []error{err, chain[0].VerifyHostname(p.ServerName)} {
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
		return NotOffered, err.Error()
	case errors.Is(err, upgrade.ErrRefused):
		return Refused, err.Error()
	case errors.As(err, &unreachable):
		return Unreachable, err.Error()
	case isTimeout(err), ctx.Err() != nil:
		return Unreachable, fmt.Sprintf("no answer within %s", p.Timeout)
	}
	return Failed, err.Error()
}

func isTimeout(err error) bool {
	return errors.Is(err, upgrade.ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded)
}
