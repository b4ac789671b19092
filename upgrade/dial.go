package upgrade

import (
	"context"
	"crypto/tls"
	"net"
)

// Dial connects to addr, asks for the upgrade as proto does, and returns the
// connection with TLS up and the certificate verified: against the host in addr,
// unless config.TLS names another. Plaintext is an error, whatever config.Optional says. It
// ends with ctx, which is nothing to the connection afterwards. Nothing is left open after an
// error; otherwise the caller closes the connection.
//
// What the server said before TLS is forgotten, its greeting and its capabilities too. So the
// session goes on as the protocol has it behind the upgrade: in SMTP with EHLO, in IMAP with
// CAPABILITY, in PostgreSQL with the startup message. Packages that know these protocols take the
// connection as they take a *tls.Conn from others:
//
//   - net/smtp reads a greeting, and has to be told of TLS: see the package netsmtp.
//   - github.com/emersion/go-imap v2 reads a greeting: call Conn.Greet, then imapclient.New(conn, options).
//   - github.com/go-ldap/ldap/v3: ldap.NewConn(conn, true), and Start.
//   - github.com/jackc/pgx/v5 dials itself: give it Dialer.DialContext, and sslmode=disable.
func Dial(ctx context.Context, network, addr string, proto *Protocol, config *Config) (*Conn, error) {
	return dial(ctx, new(net.Dialer), network, addr, proto, config)
}

// A Dialer is Dial in the shape of crypto/tls.Dialer, for packages that are given a function to
// dial with. It must not be changed while it is in use; any number of goroutines may use it.
type Dialer struct {
	// NetDialer makes the connections below. Nil means one without options.
	NetDialer *net.Dialer

	// Protocol is how the upgrade is asked for. Required.
	Protocol *Protocol

	// Config is that of Dial, and may be nil as there.
	Config *Config
}

// DialContext is Dial. The connection that it returns is a *Conn.
func (d *Dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	below := d.NetDialer
	if below == nil {
		below = new(net.Dialer)
	}
	conn, err := dial(ctx, below, network, addr, d.Protocol, d.Config)
	if err != nil {
		return nil, err // not conn: a nil *Conn is no nil net.Conn
	}
	return conn, nil
}

func dial(ctx context.Context, below *net.Dialer, network, addr string, proto *Protocol, config *Config) (*Conn, error) {
	if c := newConn(nil, proto, config, true); proto == nil || c.role() == nil {
		return nil, c.named(ErrUnsupported)
	}
	config, err := withServerName(config, addr)
	if err != nil {
		return nil, err
	}
	raw, err := below.DialContext(ctx, network, addr)
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
