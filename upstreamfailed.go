package l4starttls

import (
	"errors"
	"fmt"

	"github.com/mholt/caddy-l4/layer4"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// reject ends downstream for which nobody was asked. One that waits for a ServerHello is not
// told in plaintext.
func (u *Upstream) reject(down *prefixconn.Conn, why error, config *upgrade.Config) error {
	if !u.Passthrough {
		upgrade.RejectClient(down, u.proto, config, why)
	}
	return fmt.Errorf("upgrading upstream: %w", why)
}

// failed ends downstream, for which there is no upstream.
func (u *Upstream) failed(s *watched, up *nextConn, conn *upgrade.Conn, err error) error {
	var client dialogue.ClientError
	blamed := !errors.As(err, &client)
	if blamed {
		err = up.cause(err)
	}
	s.negotiated(conn, err)
	if blamed {
		s.noteUpstream(err)
	}
	_ = up.ours.Close() // the upstream need not wait until downstream has been heard
	if !u.Passthrough { // a client that waits for a ServerHello is not told in plaintext
		conn.RejectClient(err)
	}
	return fmt.Errorf("upgrading upstream: %w", err)
}

// tellJoined tells `starttls` in front, if it is there, that the upstream is upgraded, or
// will be.
func (u *Upstream) tellJoined(cx *layer4.Connection, certain bool) {
	if joined, ok := findBelow[*upgrade.Joined](cx); ok && certain {
		joined.BackendUpgraded()
	}
}
