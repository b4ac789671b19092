package upgrade

import (
	"crypto/tls"
	"errors"
	"net"
)

// Abort closes the connection so that the peer cannot take that for a proper end: over TLS
// without close_notify, in plaintext with a reset, which is the only way there. It is for a
// stream that was cut off on its way to the peer, in place of CloseWrite: one that failed
// with ErrTruncated, for example. What the peer has not received yet may be lost.
func (c *Conn) Abort() error {
	c.endPatience()
	bottom, secure := underneath(c)
	if linger, ok := bottom.(interface{ SetLinger(sec int) error }); ok && !secure {
		_ = linger.SetLinger(0)
	}
	return bottom.Close()
}

// underneath is the connection below all others, as far as they show it, and whether any
// of them is TLS.
func underneath(conn net.Conn) (bottom net.Conn, secure bool) {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			secure = true
		case *Conn:
			secure = secure || c.tls.Load() != nil
		}
		below, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn, secure
		}
		conn = below.NetConn()
	}
}

// Abort is Conn.Abort for the client, for when what the backend says was cut off, and why.
func (j *Joined) Abort(why error) error {
	j.mu.Lock()
	j.over = true
	j.poke()
	j.mu.Unlock()
	if why == nil {
		why = errors.New("upgrade: aborted")
	}
	j.account.end(ByBackend, why)
	j.account.finish(true, true)
	return j.conn.Abort()
}

// BackendFailed notes that what the backend says was cut off, and why. It is for whoever
// ends the client's connection in another way than by Abort.
func (j *Joined) BackendFailed(why error) { j.account.end(ByBackend, why) }
