// Package probe asks a server for an upgrade to TLS, as a client of its protocol would, and
// reports what it sees.
package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// How a probe ends: the values of Report.Outcome.
const (
	Verified    = "verified"    // TLS is up, and the certificate verifies, as does all that was asked for
	Unverified  = "unverified"  // TLS is up, and something does not verify
	Refused     = "refused"     // the server refused the upgrade
	NotOffered  = "not offered" // the server does not offer the upgrade
	Unreachable = "unreachable" // there was no connection
	TimedOut    = "timeout"     // there was one, and then no answer in time
	Failed      = "failed"      // the server turned us away, broke off, broke the protocol, or failed at TLS
)

// A Target is the server to probe.
type Target struct {
	Protocol   *upgrade.Protocol
	Host, Port string
	ServerName string            // to ask for and to verify
	Roots      *x509.CertPool    // to trust; nil for the system's
	Timeout    time.Duration     // of the whole
	Options    map[string]string // the protocol's own

	Network     string           // "ip4" or "ip6" for addresses of one family; default: "ip"
	Address     netip.Addr       // the one address to connect to, if it is valid; default: those of Host
	ImplicitTLS bool             // TLS begins with the first byte: nothing is asked for in plaintext
	Hello       string           // our own name, in protocols in which a client tells it; default: "localhost"
	Certificate *tls.Certificate // for a server that asks for one; nil for none

	// The version, 1 or 2, of a PROXY protocol header to send first, with our own address; 0 for
	// none.
	ProxyProtocol byte

	Resolver *Resolver     // for names and records; nil for the system's
	TLSA     bool          // look up TLSA records, and compare the certificates with them
	Policy   *MTASTS       // to compare the name and the certificate with; nil for none
	Versions bool          // find out which versions of TLS there are, by a connection for each
	PEM      bool          // report the certificates themselves
	Expiry   time.Duration // warn of certificates that expire sooner; 0 for no warning
}

// Run probes a server. It ends with ctx or after the target's timeout. Whatever happens is
// in the report. It believes nothing of what it is told, and leaves nothing open.
func Run(ctx context.Context, target Target) *Report {
	ctx, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	p := &prober{target}
	r := &Report{
		Protocol:    p.Protocol.Name,
		Address:     net.JoinHostPort(p.Host, p.Port),
		ServerName:  p.ServerName,
		ImplicitTLS: p.ImplicitTLS,

		PlaintextLogin: "unknown",
	}
	if err := p.reach(ctx, r); err != nil {
		r.Outcome, r.Error = p.outcome(ctx, r, err)
		r.Hint = p.hint(r, err)
	}
	return r
}

// RunAll probes all addresses of a server, one after the other, with the target's timeout for
// each.
func RunAll(ctx context.Context, target Target) (reports []*Report) {
	resolving, cancel := context.WithTimeout(ctx, target.Timeout)
	defer cancel()
	addresses, err := (&prober{target}).resolve(resolving)
	if err != nil {
		return []*Report{Run(ctx, target)}
	}
	for _, address := range addresses {
		target.Address = address.Addr()
		reports = append(reports, Run(ctx, target))
	}
	return reports
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
	if err := p.sendHeader(raw); err != nil {
		return err
	}
	conn, err := p.upgrade(ctx, raw, r)
	if p.Versions && r.Times.Handshake != nil { // also if the server has none that is good
		defer func() { r.Versions = p.versions(ctx, raw.RemoteAddr().String()) }()
	}
	if err != nil {
		return err
	}
	state, _ := conn.TLSConnectionState()
	r.TLS = newTLS(&state)
	p.inquire(ctx, conn, r)
	_ = conn.Close()
	p.judge(ctx, state.PeerCertificates, raw.RemoteAddr(), r)
	return nil
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
	found := []netip.Addr{p.Address}
	if !p.Address.IsValid() {
		if found, err = p.lookup(ctx); err != nil {
			return nil, &unreachableError{err}
		}
	}
	for _, addr := range found {
		address := netip.AddrPortFrom(addr.Unmap(), uint16(port)) //nolint:gosec // a port
		if !slices.Contains(addresses, address) {
			addresses = append(addresses, address)
		}
	}
	return addresses, nil
}

// lookup finds the addresses of the host, of the family that is wanted.
func (p *prober) lookup(ctx context.Context) ([]netip.Addr, error) {
	network := p.Network
	if network == "" {
		network = "ip"
	}
	found, err := p.Resolver.host().LookupNetIP(ctx, network, p.Host)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no address of the family that is asked for", p.Host)
	}
	return found, err
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

// sendHeader sends the PROXY protocol header, if one is asked for. It says that the client is
// ourselves.
func (p *prober) sendHeader(raw net.Conn) error {
	if p.ProxyProtocol == 0 {
		return nil
	}
	_, err := proxyproto.HeaderProxyFromAddrs(p.ProxyProtocol, raw.LocalAddr(), raw.RemoteAddr()).WriteTo(raw)
	return err
}

// unreachableError is in front of why there is no connection.
type unreachableError struct{ error }

// Unwrap returns the reason.
func (e *unreachableError) Unwrap() error { return e.error }
