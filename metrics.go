package l4starttls

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// The handlers, as metrics and logs name them.
const (
	starttlsHandler = "starttls"
	upstreamHandler = "starttls_upstream"
)

// metrics are those of the process. Sessions outlive configurations, so that the collectors
// do, too: each configuration has them in its registry.
var metrics = newMetrics(sessions)

// A metricsSet is what Prometheus is told.
type metricsSet struct {
	handlers map[string]*handlerMetrics
	expiry   *expiries
}

// handlerMetrics are those of one handler.
type handlerMetrics struct {
	negotiations           *prometheus.CounterVec
	negotiation, handshake *prometheus.HistogramVec
	sessions               *sessionCollector
}

func newMetrics(r *sessionRegistry) *metricsSet {
	return &metricsSet{
		handlers: map[string]*handlerMetrics{
			starttlsHandler: newHandlerMetrics(starttlsHandler, r),
			upstreamHandler: newHandlerMetrics(upstreamHandler, r),
		},
		expiry: newExpiries(),
	}
}

// metricName is the name of a handler's metric.
func metricName(handler, name string) string { return "caddy_layer4_" + handler + "_" + name }

func newHandlerMetrics(handler string, r *sessionRegistry) *handlerMetrics {
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: metricName(handler, name), Help: help,
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"protocol"})
	}
	return &handlerMetrics{
		negotiations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricName(handler, "negotiations_total"), Help: "Negotiations that have ended, by what came of them.",
		}, []string{"protocol", "outcome"}),
		negotiation: histogram("negotiation_duration_seconds", "How long the plaintext phase of upgraded connections took."),
		handshake:   histogram("handshake_duration_seconds", "How long the TLS handshake of upgraded connections took."),
		sessions:    newSessionCollector(handler, r),
	}
}

// register puts all into the registry of a configuration.
func (m *metricsSet) register(registry *prometheus.Registry) error {
	all := []prometheus.Collector{m.expiry.gauge}
	for _, h := range m.handlers {
		all = append(all, h.negotiations, h.negotiation, h.handshake, h.sessions)
	}
	for _, collector := range all {
		var known prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &known) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// kindMetrics are those of one protocol, found once: each connection would look them up by their
// labels otherwise.
type kindMetrics struct {
	outcomes               map[string]prometheus.Counter
	negotiation, handshake func() prometheus.Observer // made when there is something to observe
}

// expect has the counters of a protocol begin with zero: the first of an outcome is an
// increase then.
func (m *metricsSet) expect(kind sessionKind) *kindMetrics {
	h := m.handlers[kind.handler]
	k := &kindMetrics{outcomes: make(map[string]prometheus.Counter)}
	for _, outcome := range outcomes() {
		k.outcomes[outcome] = h.negotiations.WithLabelValues(kind.protocol, outcome)
	}
	k.negotiation = sync.OnceValue(func() prometheus.Observer { return h.negotiation.WithLabelValues(kind.protocol) })
	k.handshake = sync.OnceValue(func() prometheus.Observer { return h.handshake.WithLabelValues(kind.protocol) })
	return k
}

// negotiated counts a negotiation that has ended.
func (k *kindMetrics) negotiated(outcome string, o upgrade.Outcome) {
	k.outcomes[outcome].Inc()
	if outcome == outcomeUpgraded {
		k.negotiation().Observe(o.NegotiationTime.Seconds())
	}
	if outcome == outcomeUpgraded || outcome == outcomeImplicitTLS {
		k.handshake().Observe(o.HandshakeTime.Seconds())
	}
}

// A sessionCollector counts the sessions of a handler and what they carry, those that are
// not over included.
type sessionCollector struct {
	handler         string
	registry        *sessionRegistry
	inFlight, bytes *prometheus.Desc
}

func newSessionCollector(handler string, r *sessionRegistry) *sessionCollector {
	return &sessionCollector{
		handler: handler, registry: r,
		inFlight: prometheus.NewDesc(metricName(handler, "sessions_in_flight"),
			"Connections that the handler has, negotiations included.", []string{"protocol"}, nil),
		bytes: prometheus.NewDesc(metricName(handler, "bytes_total"),
			"Octets of sessions: up is what clients said, down what backends said.", []string{"protocol", "direction"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *sessionCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.inFlight
	descs <- c.bytes
}

// Collect implements prometheus.Collector.
func (c *sessionCollector) Collect(samples chan<- prometheus.Metric) {
	inFlight, carried := c.registry.count(c.handler)
	for protocol, n := range inFlight {
		samples <- prometheus.MustNewConstMetric(c.inFlight, prometheus.GaugeValue, float64(n), protocol)
	}
	for protocol, t := range carried {
		samples <- prometheus.MustNewConstMetric(c.bytes, prometheus.CounterValue, float64(t.up), protocol, "up")
		samples <- prometheus.MustNewConstMetric(c.bytes, prometheus.CounterValue, float64(t.down), protocol, "down")
	}
}

// count says how many sessions of a handler there are, and what they and those before them
// have carried, by protocol.
func (r *sessionRegistry) count(handler string) (inFlight map[string]int, carried map[string]traffic) {
	inFlight, carried = make(map[string]int), make(map[string]traffic)
	r.mu.Lock()
	defer r.mu.Unlock()
	for kind, t := range r.ended {
		if kind.handler == handler {
			carried[kind.protocol], inFlight[kind.protocol] = t, 0
		}
	}
	for s := range r.live {
		if s.kind.handler == handler {
			own, sum := s.traffic(), carried[s.kind.protocol]
			inFlight[s.kind.protocol]++
			carried[s.kind.protocol] = traffic{up: sum.up + own.up, down: sum.down + own.down}
		}
	}
	return inFlight, carried
}
