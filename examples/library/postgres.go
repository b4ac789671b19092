package library

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// ConnectPostgres connects pgx over TLS that is verified against the host in the
// connection string, or config.TLS.ServerName. The string must name one host and have sslmode=disable: pgx is to see
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
	dialer := &upgrade.Dialer{Protocol: upgrade.Postgres, Config: config}
	db.DialFunc = dialer.DialContext
	db.LookupFunc = nameItself
	return pgx.ConnectConfig(ctx, db)
}

// nameItself leaves it to the dialer to resolve a name, which it verifies: by itself pgx gives it an IP address.
func nameItself(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
