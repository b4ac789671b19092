package library

import (
	"context"

	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// DialIMAP returns a client that is not logged in yet, on TLS that is verified against the
// host in addr. The client asks for the capabilities anew, as it must after STARTTLS,
// because the greeting that it reads names none. The context is for dialling alone.
func DialIMAP(ctx context.Context, addr string, config *upgrade.Config, options *imapclient.Options) (*imapclient.Client, error) {
	conn, err := upgrade.Dial(ctx, "tcp", addr, upgrade.IMAP, config)
	if err != nil {
		return nil, err
	}
	if err := conn.Greet(); err != nil {
		conn.Close()
		return nil, err
	}
	return imapclient.New(conn, options), nil
}
