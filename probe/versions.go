package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// A Version is a version of TLS, and whether the server accepts it.
type Version struct {
	// Version is its name, such as TLS 1.2.
	Version string `json:"version"`
	// Accepted is yes, no or unknown.
	Accepted string `json:"accepted"`
	// Error says why it is not yes.
	Error string `json:"error,omitempty"`
}

// probed are the versions that a client made of Go can speak.
var probed = []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

// versions asks for the upgrade once for each version, and offers that one alone.
func (p *prober) versions(ctx context.Context, address string) (versions []Version) {
	for _, version := range probed {
		v := Version{Version: tls.VersionName(version), Accepted: "yes"}
		shaken, err := p.offer(ctx, address, version)
		if err != nil {
			v.Accepted, v.Error = "unknown", err.Error()
			if shaken && !isTimeout(err) {
				v.Accepted = "no"
			}
		}
		versions = append(versions, v)
	}
	return versions
}

// offer reports whether it came to a handshake, beside how that ended.
func (p *prober) offer(ctx context.Context, address string, version uint16) (shaken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err
	}
	defer func() { _ = raw.Close() }()
	if err := p.sendHeader(raw); err != nil {
		return false, err
	}
	config := p.config(new(Report))
	config.TLS.MinVersion, config.TLS.MaxVersion = version, version
	config.TLS.CipherSuites = allCipherSuites()
	conn := upgrade.Client(raw, config)
	if !p.ImplicitTLS {
		if conn, err = upgrade.Request(ctx, raw, p.Protocol, config); err != nil {
			return false, err
		}
	}
	if err := conn.StartTLS(ctx); err != nil {
		return !errors.Is(err, upgrade.ErrNotTLS), err
	}
	p.quit(conn)
	_ = conn.Close()
	return true, nil
}

// allCipherSuites has those, too, that nobody should use: what a server accepts is what is to
// be found out.
func allCipherSuites() (ids []uint16) {
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, suite.ID)
	}
	return ids
}
