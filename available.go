package l4starttls

import (
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// A certificateCheck reports whether there is a certificate to do TLS with, before the
// upgrade is granted. It remembers that there is, so that no client pays for a look-up.
type certificateCheck struct {
	names  []string // if there are none, any certificate will do
	source string   // of the handler, for the log
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
	if c.look() {
		c.found.Store(true)
		return true
	}
	c.warn()
	return false
}

// checkAtStart warns without a client. It remembers nothing that it has found: while a
// configuration takes the place of another, the certificates of both are there.
func (c *certificateCheck) checkAtStart() {
	if !c.look() {
		c.warn()
	}
}

func (c *certificateCheck) look() bool {
	if len(c.names) == 0 {
		return c.app.anyCertificate()
	}
	return slices.ContainsFunc(c.names, c.has)
}

// has reports whether there is a certificate for a name, or will be one in the handshake.
func (c *certificateCheck) has(name string) bool {
	return len(matchingCertificates(name)) > 0 || c.app.onDemand(name)
}

// matchingCertificates are those that Caddy has for a name: none once the last configuration
// with a tls app is gone, which negotiations outlive. Caddy's own function panics then, and
// there is no other way to ask.
func matchingCertificates(name string) (certificates []certmagic.Certificate) {
	defer func() {
		if recover() != nil {
			certificates = nil
		}
	}()
	return caddytls.AllMatchingCertificates(name)
}

func (c *certificateCheck) warn() {
	if len(c.names) == 0 && c.warned.first("") {
		warnAtStart(c.logger, c.source, "no hostnames, and no certificate that could serve clients: "+
			"upgrades are refused until there is one; name the server's hostnames")
	}
	for _, name := range c.names {
		if c.warned.first(name) {
			c.logger.Warn("no certificate yet, refusing upgrades until there is one", zap.String("hostname", name))
		}
	}
}

// defaultName is the first name that has a certificate or, if none has, the first.
func (c *certificateCheck) defaultName() string {
	return c.names[max(0, slices.IndexFunc(c.names, c.has))]
}

// anyCertificate reports whether there is a certificate for whatever name, or one may be
// obtained in a handshake.
func (a *App) anyCertificate() bool {
	return slices.ContainsFunc(a.tls.Automation.Policies, policyOnDemand) || !a.cache.empty()
}

// expectsCertificates reports whether there are names for which Caddy obtains certificates,
// if it does not have them yet: those of other handlers, and those of sites.
func (a *App) expectsCertificates() bool {
	if len(a.names) > 0 {
		return true
	}
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return false
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		if len(server.TLSConnPolicies) > 0 {
			return true
		}
	}
	return false
}

// A certificateCache is what Caddy has of certificates.
type certificateCache struct{ choose *tls.Config }

// newCertificateCache uses a selection policy that wants nothing in particular: it is given
// all certificates that there are, since none of them is for the name that is asked for.
func newCertificateCache(ctx caddy.Context) (certificateCache, error) {
	policy := &caddytls.ConnectionPolicy{CertSelection: new(caddytls.CustomCertSelectionPolicy)}
	if err := (caddytls.ConnectionPolicies{policy}).Provision(ctx); err != nil {
		return certificateCache{}, fmt.Errorf("setting up a look at the certificates: %w", err)
	}
	return certificateCache{policy.TLSConfig}, nil
}

// empty reports whether there is no certificate at all. It must not be asked where
// certificates are obtained in handshakes, since this looks like one.
func (c certificateCache) empty() bool {
	_, err := c.choose.GetCertificate(&tls.ClientHelloInfo{ServerName: "any.invalid", Conn: nowhere{}})
	return err != nil
}

// nowhere is the connection of a ClientHello that nobody has sent.
type nowhere struct{ net.Conn }

func (nowhere) RemoteAddr() net.Addr { return new(net.TCPAddr) }
func (nowhere) LocalAddr() net.Addr  { return new(net.TCPAddr) }
