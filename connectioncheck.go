package l4starttls

import (
	"fmt"
	"net"

	"github.com/mholt/caddy-l4/layer4"
	"github.com/mholt/caddy-l4/modules/l4tls"

	"github.com/l4starttls/caddy-l4-starttls/internal/prefixconn"
	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// What could not be seen at start is refused here, since it would not be what was meant:
// handlers of other plugins may have others in them, and routes may lead to each other.

// A headerConn yields a PROXY header first.
type headerConn struct{ *prefixconn.Conn }

// misplaced is what is wrong with the way that a connection has taken to the handler, or
// nothing.
func (h *Handler) misplaced(cx *layer4.Connection) string {
	if why := misplaced(cx, "starttls"); why != "" {
		return why
	}
	if _, twice := findBelow[*upgrade.Joined](cx); twice {
		return "refused connection: it has come through starttls before; remove one of them, and give the other all hostnames"
	}
	if len(l4tls.GetConnectionStates(cx)) > 0 {
		return "refused connection: tls in front of starttls has terminated TLS; remove one of them"
	}
	return ""
}

// misplaced is what is wrong with the way that a connection has taken to the handler, or
// nothing.
func (u *Upstream) misplaced(cx *layer4.Connection) string {
	if why := misplaced(cx, "starttls_upstream"); why != "" {
		return why
	}
	if name := upgradedProtocol(cx); name != "" && name != u.proto.Name {
		return fmt.Sprintf("refused connection: starttls_upstream %s behind starttls %s; use the same protocol in both", u.proto.Name, name)
	}
	if _, asked := findBelow[*upgrade.Joined](cx); u.Passthrough && u.proto.AnsweredInside && !asked {
		return fmt.Sprintf("refused connection: starttls_upstream %s with passthrough, and no starttls in front of it; put starttls with passthrough in front of it", u.proto.Name)
	}
	return ""
}

func misplaced(cx *layer4.Connection, handler string) string {
	if address := cx.LocalAddr(); address != nil && isPacketNetwork(address.Network()) {
		return "refused connection: " + handler + " needs a stream, and datagrams are none; listen on TCP"
	}
	if _, ok := findBelow[headerConn](cx); ok {
		return "refused connection: send_proxy_protocol is in front of " + handler + "; put it behind " + handler + ", in front of proxy"
	}
	return ""
}

// findBelow finds a connection of a kind below one.
func findBelow[T net.Conn](cx *layer4.Connection) (found T, ok bool) {
	for conn := cx.Conn; ; {
		if found, ok = conn.(T); ok {
			return found, true
		}
		switch c := conn.(type) {
		case *layer4.Connection:
			conn = c.Conn
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return found, false
		}
	}
}
