package l4starttls

import (
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
)

// A certificateCheck reports whether there is a certificate to do TLS with, before the
// upgrade is granted. It remembers that there is, so that no client pays for a look-up.
type certificateCheck struct {
	names  []string
	app    *App
	logger *zap.Logger

	found  atomic.Bool
	warned onceOnly // by name
}

// available reports whether any of the names has a certificate, or gets one in the
// handshake. If none has, the log says so once for each name.
func (c *certificateCheck) available() bool {
	if c.found.Load() {
		return true
	}
	for _, name := range c.names {
		if len(caddytls.AllMatchingCertificates(name)) > 0 || c.app.onDemand(name) {
			c.found.Store(true)
			return true
		}
	}
	for _, name := range c.names {
		if c.warned.first(name) {
			c.logger.Warn("no certificate yet, refusing upgrades until there is one", zap.String("hostname", name))
		}
	}
	return false
}
