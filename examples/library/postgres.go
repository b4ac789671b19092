package library

import (
	"context"
	"crypto/tls"
	"errors"
	"net"

	"github.com/jackc/pgx/v5"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// ConnectPostgres connects pgx over TLS that is verified against the host in the
// connection string. The string must name one host and have sslmode=disable: pgx is to see
// a connection in plaintext, or else it asks for TLS inside TLS. Its requests to cancel a
// query go over TLS, too. Channel binding is not to be had, because pgx knows no TLS but
// its own; it logs in without where the server offers both.
func ConnectPostgres(ctx context.Context, dsn string, config *upgrade.Config) (*pgx.Conn, error) {
	db, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if db.TLSConfig != nil || len(db.Fallbacks) > 0 {
		return nil, errors.New("connection string must have sslmode=disable and one host")
	}
	config = verifying(config, db.Host)
	db.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := upgrade.Dial(ctx, network, addr, upgrade.Postgres, config)
		if err != nil {
			return nil, err // not conn: a nil *upgrade.Conn is no nil net.Conn
		}
		return conn, nil
	}
	return pgx.ConnectConfig(ctx, db)
}

// verifying returns a copy of config with the name to verify: pgx resolves names itself,
// so what Dial gets is an IP address.
func verifying(config *upgrade.Config, host string) *upgrade.Config {
	named := new(upgrade.Config)
	if config != nil {
		*named = *config
	}
	if named.TLS == nil {
		named.TLS = new(tls.Config)
	}
	if named.TLS.ServerName == "" {
		named.TLS = named.TLS.Clone()
		named.TLS.ServerName = host
	}
	return named
}
