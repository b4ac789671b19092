package upgrade

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// Fresh makes the exchange with a client that expects a server in clear which
// starts afresh, and gets one that we have upgraded to: the client is greeted, in
// words of our own, since what the server said in clear is not to be relied on. The
// config is the one that the server was upgraded to with. Whoever made down closes
// it.
func Fresh(down net.Conn, proto *Protocol, config *Config) *Exchange {
	c := newFresh(down, proto, config)
	x := &Exchange{Conn: c, wake: make(chan struct{}, 1)}
	if proto.Inside != nil {
		x.filter = proto.Inside(c.session)
	}
	_, _ = c.Write(c.greeting()) // a client that is gone is noticed by the next Read
	x.begin()
	return x
}

// Unavailable tells such a client that there is no server for it, in the words of
// its protocol and with the kind of failure that why is, but nothing that the
// server said. It ends our half of down and gives the client a moment to read, but
// does not close it.
func Unavailable(down net.Conn, proto *Protocol, config *Config, why error) {
	c := newFresh(down, proto, config)
	why = unavailable{cause: why}
	if proto.Unavailable != nil {
		_ = down.SetDeadline(time.Now().Add(c.config.negotiationTimeout()))
		if why = proto.Unavailable(c.session, why); why == nil {
			why = ErrQuit // it has had its answer
		}
	}
	c.farewell(why)
}

// newFresh makes the server's side of a connection that stays as it is. It goes by
// the name of the server, not by the one that we have as its client.
func newFresh(down net.Conn, proto *Protocol, config *Config) *Conn {
	c := newConn(down, proto, config, false)
	c.negotiated.Store(true)
	c.session = newSession(c)
	named := *c.config
	named.Hostname = c.session.upgradedName()
	c.config = &named
	return c
}

// upgradedName is the name of the server that has been upgraded to, or ours if it has
// none.
func (s *Session) upgradedName() string { return cmp.Or(s.PeerName(), s.Hostname()) }

// unavailable is ErrBackend with a cause, of which the peer may know the kind.
type unavailable struct{ cause error }

func (u unavailable) Error() string        { return "backend not available: " + u.cause.Error() }
func (u unavailable) Is(target error) bool { return target == ErrBackend }

// upstreamUnavailable is said where there was no upstream at all.
const upstreamUnavailable = "Upstream not available"

// unavailableText says why there is no backend, where that is known.
func unavailableText(why error, otherwise string) string {
	var u unavailable
	if !errors.As(why, &u) {
		return otherwise
	}
	var certificate *tls.CertificateVerificationError
	for _, kind := range []struct {
		text    string
		matches bool
	}{
		{"Upstream does not offer TLS", errors.Is(u.cause, ErrNotOffered)},
		{"Upstream refused TLS", errors.Is(u.cause, ErrRefused)},
		{"Upstream violated the protocol before TLS", brokeProtocol(u.cause)},
		{"Upstream certificate could not be verified", errors.As(u.cause, &certificate)},
		{"Upstream timed out", errors.Is(u.cause, ErrTimeout) || errors.Is(u.cause, os.ErrDeadlineExceeded)},
		{"TLS with upstream failed", errors.Is(u.cause, errHandshake)},
	} {
		if kind.matches {
			return kind.text
		}
	}
	return upstreamUnavailable
}

func brokeProtocol(err error) bool {
	for _, broken := range []error{ErrPipelined, ErrNotTLS, ErrMalformed, ErrLineTooLong, ErrTooMany} {
		if errors.Is(err, broken) {
			return true
		}
	}
	return false
}

// unavailableForTLS tells whether there was a backend, but no TLS with it.
func unavailableForTLS(why error) bool {
	return unavailableText(why, upstreamUnavailable) != upstreamUnavailable
}

// greeting is one in the name of the server.
func (c *Conn) greeting() []byte {
	if c.proto == nil || c.proto.Greeting == "" {
		return nil
	}
	return fmt.Appendf(nil, c.proto.Greeting+"\r\n", c.session.upgradedName())
}

// Greet puts a greeting in front of what is read next. It is for client software
// that insists on reading one, such as net/smtp, once the connection has been
// upgraded: servers of SMTP, LMTP, IMAP and POP3 greet in clear alone, and what is
// said there is not to be relied on. Where nobody waits for a greeting it does
// nothing.
func (c *Conn) Greet() {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if c.tls.Load() != nil {
		c.buf = append(c.greeting(), c.buf...)
	}
}
