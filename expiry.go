package l4starttls

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// expiries has when the upstreams' certificates expire, by the name that is configured.
// Names that no configuration has any more are forgotten.
type expiries struct {
	gauge *prometheus.GaugeVec

	mu   sync.Mutex
	uses map[string]int // how many handlers have a name
}

// An expiryUse is a handler's use of a name. Nil is none.
type expiryUse struct {
	expiries *expiries
	name     string
	once     sync.Once
}

func newExpiries() *expiries {
	return &expiries{
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: metricName(upstreamHandler, "certificate_expiry_timestamp_seconds"),
			Help: "When the certificate expires that the upstream has shown last.",
		}, []string{"server_name"}),
		uses: make(map[string]int),
	}
}

// use notes that a handler has a name.
func (e *expiries) use(name string) *expiryUse {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.uses[name]++
	return &expiryUse{expiries: e, name: name}
}

// release is the reverse of expiries.use.
func (u *expiryUse) release() {
	if u == nil {
		return
	}
	u.once.Do(func() {
		e := u.expiries
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.uses[u.name]--; e.uses[u.name] == 0 {
			delete(e.uses, u.name)
			e.gauge.DeleteLabelValues(u.name)
		}
	})
}

// see keeps when the certificate expires that an upstream has shown, also if it was not
// verified: it may be for that.
func (u *expiryUse) see(conn *upgrade.Conn, err error) {
	if u == nil {
		return
	}
	chain := []*x509.Certificate(nil)
	var unverified *tls.CertificateVerificationError
	if state, ok := conn.TLSConnectionState(); ok {
		chain = state.PeerCertificates
	} else if errors.As(err, &unverified) {
		chain = unverified.UnverifiedCertificates
	}
	if len(chain) > 0 {
		u.set(chain[0])
	}
}

// set is not for a name that no configuration has any more, as a session that is older may
// have.
func (u *expiryUse) set(cert *x509.Certificate) {
	e := u.expiries
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.uses[u.name] > 0 {
		e.gauge.WithLabelValues(u.name).Set(float64(cert.NotAfter.Unix()))
	}
}
