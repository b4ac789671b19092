package l4starttls

import (
	"errors"
	"net"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// limitClients sets up what is counted for each client.
func (h *Handler) limitClients() {
	h.clients = newClientLimits(h.Limits)
	if h.clients != nil && h.clients.upgrades > 0 {
		h.config.AdmitUpgrade = h.admitUpgrade
	}
}

// admit reports whether a client may have another connection. One that may not is told so,
// unless even that would be too much.
func (h *Handler) admit(cx *layer4.Connection, s *watched) bool {
	s.seat = h.clients.enter(cx.RemoteAddr())
	if s.seat.admitted() {
		return true
	}
	s.negotiated(nil, upgrade.ErrTooManyConnections)
	h.noteLimit("refused a client that has too many connections before TLS", cx.RemoteAddr())
	if !s.seat.untold {
		upgrade.RejectClient(takeOver(cx), h.proto, h.config, upgrade.ErrTooManyConnections)
	}
	return false
}

// admitUpgrade reports whether a client may have another upgrade.
func (h *Handler) admitUpgrade(client net.Addr) bool {
	if h.clients.admitUpgrade(client) {
		return true
	}
	h.noteLimit("refused an upgrade to a client that has had too many", client)
	return false
}

// noteLimit is for an administrator who has set a limit too low, or is under attack.
func (h *Handler) noteLimit(message string, client net.Addr) {
	h.watch.notices.log(h.logger, zap.InfoLevel, message,
		zap.String("remote", client.String()), zap.String("protocol", h.proto.Name))
}

// isLimited finds what a client has had too much of.
func isLimited(err error) bool {
	return errors.Is(err, upgrade.ErrTooManyConnections) || errors.Is(err, upgrade.ErrTooManyUpgrades)
}
