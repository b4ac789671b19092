package library

import (
	"context"

	"github.com/go-ldap/ldap/v3"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// DialLDAP returns a client that has not bound yet, on TLS that is verified against the host in
// addr. ldap.Conn.TLSConnectionState knows of no TLS but that of a *tls.Conn, and ldap.Conn.StartTLS
// refuses to ask for it once more. The context is for dialling alone.
func DialLDAP(ctx context.Context, addr string, config *upgrade.Config) (*ldap.Conn, error) {
	conn, err := upgrade.Dial(ctx, "tcp", addr, upgrade.LDAP, config)
	if err != nil {
		return nil, err
	}
	client := ldap.NewConn(conn, true)
	client.Start()
	return client, nil
}
