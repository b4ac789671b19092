package l4starttls

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/l4starttls/caddy-l4-starttls/upgrade"
)

// sessions are those of the process. Sessions outlive the configuration that they began
// with, and so does this.
var sessions = newSessionRegistry()

const (
	// endingTime is how long a client has to take close_notify, and what was written before
	// it, and to end as well.
	endingTime = time.Second

	// goodbyeTime is how long a negotiation may take to say goodbye.
	goodbyeTime = 2500 * time.Millisecond
)

// A sessionRegistry knows the sessions that there are.
type sessionRegistry struct {
	mu       sync.Mutex
	live     map[*session]struct{}
	stopping bool
	ended    map[sessionKind]traffic // of sessions that are over
	left     chan struct{}           // has something when a session has ended
}

func newSessionRegistry() *sessionRegistry {
	return &sessionRegistry{
		live: make(map[*session]struct{}), ended: make(map[sessionKind]traffic), left: make(chan struct{}, 1),
	}
}

// A sessionKind is what metrics tell apart.
type sessionKind struct {
	handler  string // starttls or starttls_upstream
	protocol string
}

// A traffic is what sessions have carried, in octets.
type traffic struct{ up, down uint64 }

// A session is a connection, from when a handler has got it.
type session struct {
	kind     sessionKind
	began    time.Time
	registry *sessionRegistry
	below    net.Conn // the connection itself

	negotiation negotiationContext // what a negotiation ends with

	mu       sync.Mutex
	account  account                     // nil before there is one
	shutdown func(until time.Time) error // nil while there is nothing that ends properly
	raw      bool                        // TLS is passed through, so that we cannot end it
}

// begin makes a session. While the process ends, its negotiation has ended already.
func (r *sessionRegistry) begin(ctx context.Context, kind sessionKind, below net.Conn) *session {
	s := &session{kind: kind, began: time.Now(), registry: r, below: below}
	s.negotiation.Context = ctx
	r.mu.Lock()
	r.live[s] = struct{}{}
	stopping := r.stopping
	r.mu.Unlock()
	if stopping {
		s.negotiation.end(upgrade.ErrShutdown)
	}
	return s
}

// serve notes what the session has become, behind its negotiation: what counts it, and what
// ends it properly. Without the latter it is ended as it is.
func (s *session) serve(account account, shutdown func(until time.Time) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.account, s.shutdown, s.raw = account, shutdown, shutdown == nil
}

// traffic is what the session has carried so far.
func (s *session) traffic() traffic {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.account == nil {
		return traffic{}
	}
	return traffic{up: s.account.FromClient(), down: s.account.FromBackend()}
}

// end takes the session out.
func (s *session) end() {
	r := s.registry
	r.mu.Lock()
	delete(r.live, s)
	sum, own := r.ended[s.kind], s.traffic()
	r.ended[s.kind] = traffic{up: sum.up + own.up, down: sum.down + own.down}
	r.mu.Unlock()
	s.negotiation.end(context.Canceled)
	select {
	case r.left <- struct{}{}:
	default: // nobody has noticed the one before
	}
}

// all lists the sessions.
func (r *sessionRegistry) all() []*session {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*session, 0, len(r.live))
	for s := range r.live {
		list = append(list, s)
	}
	return list
}

// stop ends all sessions, because the process is to end. Negotiations say goodbye, what is
// passed through ends at once, and all others have so much time to end by themselves.
func (r *sessionRegistry) stop(grace time.Duration) {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	for _, s := range r.all() {
		s.negotiation.end(upgrade.ErrShutdown)
		if s.isRaw() {
			_ = s.below.Close()
		}
	}
	r.await(time.Now().Add(grace), (*session).isServing)
	until := time.Now().Add(endingTime)
	for _, s := range r.all() {
		go s.shutDown(until)
	}
	r.await(time.Now().Add(goodbyeTime), func(*session) bool { return true })
	for _, s := range r.all() {
		_ = s.below.Close()
	}
}

// isRaw reports whether TLS is passed through.
func (s *session) isRaw() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.raw
}

// isServing reports whether the session is behind its negotiation.
func (s *session) isServing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shutdown != nil
}

// shutDown ends the session properly, if that is possible.
func (s *session) shutDown(until time.Time) {
	s.mu.Lock()
	shutdown := s.shutdown
	s.mu.Unlock()
	if shutdown != nil {
		_ = shutdown(until)
	}
}

// await waits until there are no sessions of a kind, but no longer than until then.
func (r *sessionRegistry) await(until time.Time, matters func(*session) bool) {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		waits := false
		for _, s := range r.all() {
			waits = waits || matters(s)
		}
		if !waits {
			return
		}
		select {
		case <-r.left:
		case <-timer.C:
			return
		}
	}
}

func init() {
	// For a configuration without the app, while sessions of an older one go on.
	caddy.OnExit(func(context.Context) { sessions.stop(currentApp.Load().gracePeriod()) })
}
