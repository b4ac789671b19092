package upgrade

import "net"

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
