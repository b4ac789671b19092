package upgrade

import (
	"context"
	"crypto/tls"
	"net"
)

// NewListener makes a listener whose Accept returns connections of the given
// protocol. As with crypto/tls, Accept does not wait for the client: the
// negotiation happens with the first Read or Write, or with Conn.Negotiate, on the
// goroutine of whoever serves the connection. Closing it closes inner.
func NewListener(inner net.Listener, proto *Protocol, config *Config) net.Listener {
	return &listener{Listener: inner, proto: proto, config: config}
}

type listener struct {
	net.Listener
	proto  *Protocol
	config *Config
}

func (l *listener) Accept() (net.Conn, error) {
	if c := newConn(nil, l.proto, l.config, false); l.proto == nil || c.role() == nil {
		return nil, c.named(ErrUnsupported)
	}
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(raw, l.proto, l.config, false), nil
}

// Dial connects to addr, asks for the upgrade as proto does, and returns the
// connection with TLS up and the certificate verified: against the host in addr,
// unless config.TLS names another. Plaintext is an error, whatever config.Optional says. It
// ends with ctx. Nothing is left open after an error.
func Dial(ctx context.Context, network, addr string, proto *Protocol, config *Config) (*Conn, error) {
	if c := newConn(nil, proto, config, true); proto == nil || c.role() == nil {
		return nil, c.named(ErrUnsupported)
	}
	config, err := withServerName(config, addr)
	if err != nil {
		return nil, err
	}
	raw, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	conn, err := Request(ctx, raw, proto, config)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// withServerName returns a copy of config that demands TLS, and verifies the host in addr.
func withServerName(config *Config, addr string) (*Config, error) {
	named := new(Config)
	if config != nil {
		*named = *config
	}
	named.Optional = false // whoever dials means TLS
	if named.TLS == nil {
		named.TLS = new(tls.Config)
	}
	if named.TLS.ServerName != "" {
		return named, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	named.TLS = named.TLS.Clone()
	named.TLS.ServerName = host
	return named, nil
}
