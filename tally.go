package l4starttls

import (
	"net"
	"sync/atomic"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// An account is what counts a session.
type account interface {
	FromClient() uint64
	FromBackend() uint64
	Ending() upgrade.Ending
}

// A tally is the client's connection of a session that is not an upgrade.Joined, since
// nothing of it is to be filtered. It counts what passes.
type tally struct {
	closeWriter
	fromClient, fromBackend atomic.Uint64
}

// Read implements net.Conn.
func (t *tally) Read(p []byte) (int, error) {
	n, err := t.closeWriter.Read(p)
	t.fromClient.Add(uint64(n)) //nolint:gosec // not negative
	return n, err
}

// Write implements net.Conn.
func (t *tally) Write(p []byte) (int, error) {
	n, err := t.closeWriter.Write(p)
	t.fromBackend.Add(uint64(n)) //nolint:gosec // not negative
	return n, err
}

// FromClient is how many octets the client has said.
func (t *tally) FromClient() uint64 { return t.fromClient.Load() }

// FromBackend is how many octets it was told.
func (t *tally) FromBackend() uint64 { return t.fromBackend.Load() }

// Ending is not known.
func (t *tally) Ending() upgrade.Ending { return upgrade.Ending{} }

// NetConn returns the connection below.
func (t *tally) NetConn() net.Conn { return t.closeWriter }

var _ account = (*tally)(nil)
