package upgrade

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/l4starttls/caddy-l4-starttls/upgrade/dialogue"
)

// RequestFor is Request for a client that is in plaintext and waits for the server. In
// protocols that ask for the upgrade in the client's own words (Protocol.HearsClient) the
// client is heard meanwhile; its words are read again behind the upgrade. ServeUpgraded
// serves the client then, or else Conn.RejectClient tells it why not. Whoever made client
// closes it.
func RequestFor(ctx context.Context, raw, client net.Conn, proto *Protocol, config *Config) (*Conn, error) {
	c := newConn(raw, proto, config, true)
	if proto == nil {
		return c, c.named(ErrUnsupported)
	}
	c.forClient = waiting(client, proto, config)
	return c, c.Negotiate(ctx)
}

// A waitingClient is the plaintext phase with a client for whom a server is upgraded.
type waitingClient struct {
	conn    *Conn // we are the server
	in      *plainReader
	session *dialogue.Session
}

func waiting(client net.Conn, proto *Protocol, config *Config) *waitingClient {
	c := serving(client, proto, config)
	in := &plainReader{Conn: &c.raw, ctx: context.Background()}
	return &waitingClient{c, in, dialogue.NewSession(proto, c.options(), in, &c.raw, false)}
}

// hear lets a client's role hear the client, in the time that the whole phase has. What
// was read and not consumed goes back in front of the connection by the function that it
// returns. A client whose TLS is passed through has no more words.
func (w *waitingClient) hear(ctx context.Context, s *dialogue.Session) (done func()) {
	if w == nil || !w.conn.proto.HearsClient || w.conn.config.Passthrough {
		return func() {}
	}
	s.For(w.session)
	w.in.ctx, w.in.idle = ctx, w.conn.config.Limits.Idle
	watch := w.conn.interruptWith(ctx)
	_ = w.in.begin(time.Now().Add(w.conn.config.negotiationTimeout())) // or the first read fails
	return func() {
		w.conn.raw.Unread(w.session.Result().Unread)
		if watch.stop() {
			_ = w.conn.raw.SetDeadline(time.Time{})
		}
		w.in.ctx, w.in.idle = context.WithoutCancel(ctx), 0
	}
}

// reject tells the client why there is no server for it.
func (w *waitingClient) reject(why error) {
	var client dialogue.ClientError
	patience, tooMany := w.conn.config.negotiationTimeout(), errors.Is(why, ErrTooManyConnections)
	switch {
	case errors.As(why, &client):
		w.conn.refuse(w.session, client.Cause)
		return
	case tooMany:
		patience = drainTimeout
	case !errors.Is(why, ErrShutdown): // which has words of its own
		why = dialogue.Unavailable{Cause: why}
	}
	_ = w.in.begin(time.Now().Add(patience))
	if tooMany {
		if direct, _ := w.conn.beginsWithTLS(w.session, w.in); direct {
			w.conn.sayLast(nil)
			return
		}
	}
	switch proto := w.conn.proto; {
	case proto.Tunnel && !tooMany:
		why = ErrQuit // what the client expects is of another protocol
	case proto.Reject != nil:
		if why = proto.Reject(w.session, why); why == nil {
			why = ErrQuit // it has had its answer
		}
	}
	w.conn.refuse(w.session, why)
}

// RejectClient is the function of that name for the client of a Conn that RequestFor has
// made. For one of another making it does nothing.
func (c *Conn) RejectClient(why error) {
	if c.forClient != nil {
		c.forClient.reject(why)
	}
}

// BackendUpgraded is for whoever upgrades what the client is joined to, once it is upgraded
// or will be, or else there will be no backend. It tells the filter.
func (j *Joined) BackendUpgraded() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.x.SetBackendUpgraded()
}
